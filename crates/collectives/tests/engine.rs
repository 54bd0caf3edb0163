//! c10d in one process: Gloo on the processor, and NCCL if it is built in and there is a GPU.
#![cfg(feature = "gloo")]
#![allow(clippy::unwrap_used, reason = "a failed step of a test ends the test")]

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use collectives::{Buckets, Collectives, meet};
use launchers::{Meeting, Place};
use tch::{Device, Kind, Tensor};

/// Returns the processor, and a GPU if NCCL can be tried.
fn devices() -> Vec<Device> {
    if cfg!(feature = "nccl") && tch::Cuda::is_available() {
        return vec![Device::Cpu, Device::Cuda(0)];
    }
    println!("NCCL is not tried: the feature nccl or a GPU is not there");
    vec![Device::Cpu]
}

fn alone(device: Device) -> Arc<dyn Collectives> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let meeting =
        Meeting { host: "127.0.0.1".to_owned(), port, launcher_listens: false, restarts: 0 };
    meet(Place::ALONE, &meeting, device, Duration::from_mins(1)).unwrap()
}

/// Returns the gradients of a network of two layers, with another loss at each step.
fn gradients(parameters: &[Tensor], step: i64) -> Vec<Tensor> {
    let device = parameters[0].device();
    let inputs = Tensor::arange(48 * 64, (Kind::Float, device)).view([48, 64]);
    let inputs = (inputs * 0.37 + step as f64).sin();
    let hidden = (inputs.matmul(&parameters[0]) + &parameters[1]).relu();
    let loss = hidden.matmul(&parameters[2]).square().mean(Kind::Float);
    Tensor::f_run_backward(&[&loss], &parameters.iter().collect::<Vec<_>>(), false, false).unwrap()
}

#[test]
fn one_process_with_the_engine_has_the_gradients_of_one_without_it_to_the_bit() {
    for device in devices() {
        tch::manual_seed(1);
        let parameters = [&[64, 96][..], &[96], &[96, 8]].map(|size| {
            Tensor::randn(size, (Kind::Float, Device::Cpu))
                .to_device(device)
                .set_requires_grad(true)
        });
        for overlap in [false, true] {
            // Room for one of the parameters, so that there are several.
            let buckets = Buckets::new(alone(device), &parameters, 8 << 10, overlap).unwrap();
            for step in 0..3 {
                let expected = gradients(&parameters, step);
                buckets.expect(1.0, true);
                let made = gradients(&parameters, step);
                buckets.add(&made, 1.0).unwrap();
                let sums = buckets.finish(&[Tensor::from(2.5).to_device(device)]).unwrap();
                for (sum, expected) in sums.gradients.iter().zip(&expected) {
                    assert!(sum.equal(expected), "{device:?}, step {step}, overlap {overlap}");
                }
                assert_eq!(
                    sums.scalars.to_device(Device::Cpu).double_value(&[0]).to_bits(),
                    2.5_f64.to_bits()
                );
            }
        }
    }
}

#[test]
fn one_process_says_to_itself_what_it_says() {
    for device in devices() {
        let group = alone(device);
        assert_eq!((group.rank(), group.world_size(), group.device()), (0, 1, device));
        group.barrier().unwrap();
        assert_eq!(group.broadcast_bytes(b"weights").unwrap(), b"weights");
    }
}
