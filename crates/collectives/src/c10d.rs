//! c10d's process groups, through the few functions of `c10d.cpp`.

use std::ffi::{CStr, CString, c_char, c_int};
use std::ptr::{self, NonNull};
use std::time::Duration;

use launchers::{Meeting, Place};
use tch::{Device, Tensor};
use torch_sys::C_tensor;

use crate::{Collectives, Error, Pending};

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

/// Takes over an error's text.
pub(crate) fn checked(error: *mut c_char) -> Result<(), String> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: text that C++ made with strdup, which is ours now.
    let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    // SAFETY: as above; freed once.
    unsafe { libc::free(error.cast()) };
    // The first line says what; those behind it are libtorch's own stack.
    Err(text.lines().next().unwrap_or_default().to_owned())
}

/// A group that has met.
#[derive(Debug)]
pub(crate) struct Group {
    raw: NonNull<RawGroup>,
    place: Place,
    device: Device,
    timeout: Duration,
}

// SAFETY: c10d's groups may be used from any thread, one at a time, which is all that a `&Group`'s
// owner does: the buckets' hooks run while the thread that owns them waits for the backward pass.
unsafe impl Send for Group {}
// SAFETY: as above.
unsafe impl Sync for Group {}

impl Group {
    pub(crate) fn meet(
        place: Place,
        meeting: &Meeting,
        device: Device,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let failed = |reason: String| Error::NotMet {
            rank: place.rank,
            world_size: place.world_size,
            at: format!("{}:{}", meeting.host, meeting.port),
            timeout,
            reason,
        };
        let text = |text: &str| CString::new(text).map_err(|error| failed(error.to_string()));
        let host = text(&meeting.host)?;
        let prefix = text(&format!("capsmith/{}", meeting.restarts))?;
        // Gloo's own name for it, as in torch.distributed.
        let interface = text(&std::env::var("GLOO_SOCKET_IFNAME").unwrap_or_default())?;
        let mut raw = ptr::null_mut();
        // SAFETY: the texts live until the call returns, and `raw` is written where it succeeds.
        let error = unsafe {
            capsmith_group_new(
                &raw mut raw,
                device.is_cuda(),
                host.as_ptr(),
                meeting.port,
                place.rank as c_int,
                place.world_size as c_int,
                meeting.launcher_listens,
                prefix.as_ptr(),
                interface.as_ptr(),
                i64::try_from(timeout.as_millis()).unwrap_or(i64::MAX),
            )
        };
        checked(error).map_err(failed)?;
        let raw = NonNull::new(raw).ok_or_else(|| failed("no group".to_owned()))?;
        Ok(Self { raw, place, device, timeout })
    }

    /// Begins what a function of c10d does with a tensor.
    fn begin(
        &self,
        function: unsafe extern "C" fn(
            *mut RawGroup,
            *const C_tensor,
            *mut *mut RawWork,
        ) -> *mut c_char,
        tensor: &Tensor,
    ) -> Result<Pending, Error> {
        let (place, timeout) = (self.place, self.timeout);
        let lost = move |reason| Error::Lost {
            rank: place.rank,
            world_size: place.world_size,
            timeout,
            reason,
        };
        let mut work = ptr::null_mut();
        // SAFETY: a live group and a live tensor, whose storage c10d shares; `work` is written where
        // it succeeds.
        let error = unsafe { function(self.raw.as_ptr(), tensor.as_ptr(), &raw mut work) };
        checked(error).map_err(lost)?;
        let work = Begun(work);
        Ok(Pending::new(move || work.wait().map_err(lost)))
    }
}

/// Work that may be waited for on any thread.
struct Begun(*mut RawWork);

// SAFETY: c10d's work may be waited for on any thread.
unsafe impl Send for Begun {}

impl Begun {
    fn wait(self) -> Result<(), String> {
        // SAFETY: work that was begun, waited for once.
        checked(unsafe { capsmith_wait(self.0) })
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
        self.place.rank
    }

    fn world_size(&self) -> usize {
        self.place.world_size
    }

    fn all_reduce(&self, tensor: &Tensor) -> Result<Pending, Error> {
        self.begin(capsmith_all_reduce, tensor)
    }

    fn broadcast(&self, tensor: &Tensor) -> Result<(), Error> {
        self.begin(capsmith_broadcast, tensor)?.wait()
    }

    fn device(&self) -> Device {
        self.device
    }
}
