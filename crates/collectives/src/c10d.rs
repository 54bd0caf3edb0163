//! Bindings to c10d's process groups through `c10d.cpp`.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};
use std::time::Duration;

use launchers::{ProcessRank, Rendezvous};
use tch::{Device, Tensor};
use torch_sys::C_tensor;

use crate::error::Error;
use crate::group::{Collectives, Pending};

#[repr(C)]
struct RawGroup {
    _private: [u8; 0],
}

#[repr(C)]
struct RawWork {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn capsmith_group_new(
        out: *mut *mut RawGroup,
        nccl: bool,
        host: *const c_char,
        port: u16,
        rank: c_int,
        size: c_int,
        agent_listens: bool,
        prefix: *const c_char,
        interface: *const c_char,
        timeout_ms: i64,
    ) -> *mut c_char;
    fn capsmith_group_free(group: *mut RawGroup);
    fn capsmith_all_reduce(
        group: *mut RawGroup,
        tensor: *const C_tensor,
        out: *mut *mut RawWork,
    ) -> *mut c_char;
    fn capsmith_broadcast(
        group: *mut RawGroup,
        tensor: *const C_tensor,
        out: *mut *mut RawWork,
    ) -> *mut c_char;
    fn capsmith_wait(work: *mut RawWork) -> *mut c_char;
}

/// Converts and frees an error text.
pub(crate) fn check(error: *mut c_char) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: C++ allocated the text with strdup and gave up ownership.
    let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    // SAFETY: as above; freed once.
    unsafe { libc::free(error.cast()) };
    // The first line is the message; libtorch's stack trace follows.
    Err(text.lines().next().unwrap_or_default().to_owned())
}

/// Connected process group.
#[derive(Debug)]
pub(crate) struct Group {
    raw: NonNull<RawGroup>,
    process: ProcessRank,
    device: Device,
    timeout: Duration,
}

// SAFETY: c10d's groups may be used from any thread, one at a time. The owner of a `&Group` does
// just that: hooks run while the owning thread waits for the backward pass.
unsafe impl Send for Group {}
// SAFETY: as above.
unsafe impl Sync for Group {}

impl Group {
    pub(crate) fn connect(
        process: ProcessRank,
        rendezvous: &Rendezvous,
        device: Device,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let failed = |reason: String| Error::RendezvousFailed {
            rank: process.rank,
            world_size: process.world_size,
            address: format!("{}:{}", rendezvous.host, rendezvous.port),
            timeout,
            reason,
        };
        let text = |text: &str| CString::new(text).map_err(|error| failed(error.to_string()));
        let host = text(&rendezvous.host)?;
        let prefix = text(&format!("capsmith/{}", rendezvous.restarts))?;
        // Same variable as in torch.distributed.
        let interface = text(&std::env::var("GLOO_SOCKET_IFNAME").unwrap_or_default())?;
        let mut raw = ptr::null_mut();
        // SAFETY: the texts outlive the call, and `raw` is written on success.
        let error = unsafe {
            capsmith_group_new(
                &raw mut raw,
                device.is_cuda(),
                host.as_ptr(),
                rendezvous.port,
                process.rank as c_int,
                process.world_size as c_int,
                rendezvous.launcher_listens,
                prefix.as_ptr(),
                interface.as_ptr(),
                i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX),
            )
        };
        check(error).map_err(failed)?;
        let raw = NonNull::new(raw).ok_or_else(|| failed("no group".to_owned()))?;
        Ok(Self { raw, process, device, timeout })
    }

    /// Starts a c10d operation on a tensor.
    fn start(
        &self,
        function: unsafe extern "C" fn(
            *mut RawGroup,
            *const C_tensor,
            *mut *mut RawWork,
        ) -> *mut c_char,
        tensor: &Tensor,
    ) -> Result<Pending, Error> {
        let (process, timeout) = (self.process, self.timeout);
        let lost = move |reason| Error::PeerLost {
            rank: process.rank,
            world_size: process.world_size,
            timeout,
            reason,
        };
        let mut work = ptr::null_mut();
        // SAFETY: live group and tensor, whose storage c10d shares; `work` is written on success.
        let error = unsafe { function(self.raw.as_ptr(), tensor.as_ptr(), &raw mut work) };
        check(error).map_err(lost)?;
        let work = StartedWork(work);
        Ok(Pending::new(move || work.wait().map_err(lost)))
    }
}

/// Handle of a c10d operation; any thread may wait for it.
struct StartedWork(*mut RawWork);

// SAFETY: any thread may wait for c10d's work.
unsafe impl Send for StartedWork {}

impl StartedWork {
    fn wait(self) -> Result<(), String> {
        // SAFETY: work that has started, waited for once.
        check(unsafe { capsmith_wait(self.0) })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: made by `capsmith_group_new`, freed once.
        unsafe { capsmith_group_free(self.raw.as_ptr()) }
    }
}

impl Collectives for Group {
    fn rank(&self) -> usize {
        self.process.rank
    }

    fn world_size(&self) -> usize {
        self.process.world_size
    }

    fn all_reduce(&self, tensor: &Tensor) -> Result<Pending, Error> {
        self.start(capsmith_all_reduce, tensor)
    }

    fn broadcast(&self, tensor: &Tensor) -> Result<(), Error> {
        self.start(capsmith_broadcast, tensor)?.wait()
    }

    fn device(&self) -> Device {
        self.device
    }
}
