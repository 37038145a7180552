//! Operations whose backward is written in Rust, recorded in torch's graph beside torch's own.
//!
//! Guarantee: the backward closure runs at most once, in the backward pass, without recording, and what it holds is
//! dropped when it has run or the graph goes. A panic in it ends the backward pass with an error, never unwinds
//! through C++.

use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};

use tch::Tensor;
use torch_sys::C_tensor;

type RawBackward = unsafe extern "C" fn(*mut c_void, *mut C_tensor, *const bool, *mut *mut C_tensor, usize) -> i32;
type RawRelease = unsafe extern "C" fn(*mut c_void);
type RawReady = unsafe extern "C" fn(*mut c_void, usize);

unsafe extern "C" {
    fn syncyte_shim_error() -> *const c_char;
    fn syncyte_needs_backward(inputs: *const *const C_tensor, n: usize) -> i32;
    fn syncyte_attach(
        output: *mut C_tensor,
        inputs: *const *const C_tensor,
        n: usize,
        backward: RawBackward,
        release: RawRelease,
        user: *mut c_void,
    ) -> i32;
    fn syncyte_on_gradient(
        leaf: *const C_tensor,
        index: usize,
        ready: RawReady,
        release: RawRelease,
        user: *mut c_void,
    ) -> i32;
}

/// The shim refused, in torch's words.
#[derive(Debug, thiserror::Error)]
#[error("torch: {0}")]
pub struct ShimError(String);

/// Gradients of an operation's inputs from that of its output; `needed` says for which inputs.
pub type Backward = Box<dyn FnOnce(&Tensor, &[bool]) -> Vec<Option<Tensor>> + Send>;

/// Runs `forward` without recording and records it as one operation on `inputs` where one of them needs a gradient.
///
/// `forward` gives the output and its backward. The backward must hold no tensor that leads back to the output, or
/// neither is ever freed: save outputs detached.
///
/// # Panics
/// When torch cannot record the operation, as tch's own operations do.
pub fn record(inputs: &[&Tensor], forward: impl FnOnce() -> (Tensor, Backward)) -> Tensor {
    let pointers: Vec<*const C_tensor> = inputs.iter().map(|tensor| tensor.as_ptr()).collect();
    // SAFETY: the pointers are of live tensors, which the borrow of `inputs` keeps.
    let recorded = unsafe { syncyte_needs_backward(pointers.as_ptr(), pointers.len()) } != 0;
    let (mut output, backward) = tch::no_grad(forward);
    if recorded {
        let user = Box::into_raw(Box::new(Some(backward))).cast::<c_void>();
        // SAFETY: as above; `user` is a `Box<Option<Backward>>` as `run_backward` and `drop_backward` take it, and
        // the node owns it from here on.
        let status = unsafe {
            let output = output.as_mut_ptr();
            syncyte_attach(output, pointers.as_ptr(), pointers.len(), run_backward, drop_backward, user)
        };
        assert!(status == 0, "{}", last_error());
    }
    output
}

/// Calls `ready(index)` on the thread of the backward pass whenever the gradient of `leaf` is complete.
///
/// # Errors
/// When the tensor is no leaf with a gradient.
pub fn on_gradient(
    leaf: &Tensor,
    index: usize,
    ready: std::sync::Arc<dyn Fn(usize) + Send + Sync>,
) -> Result<(), ShimError> {
    let user = Box::into_raw(Box::new(ready)).cast::<c_void>();
    // SAFETY: the leaf is live; `user` is a `Box<Arc<dyn Fn>>` as `call_ready` and `drop_ready` take it, and the hook,
    // which lives as long as the leaf, owns it.
    let status = unsafe { syncyte_on_gradient(leaf.as_ptr(), index, call_ready, drop_ready, user) };
    if status == 0 { Ok(()) } else { Err(last_error()) }
}

fn last_error() -> ShimError {
    // SAFETY: the shim returns a C string that lives until its next error on this thread.
    ShimError(unsafe { CStr::from_ptr(syncyte_shim_error()) }.to_string_lossy().into_owned())
}

/// # Safety
/// `user` is a `Box<Option<Backward>>`, `gradient` an owned tensor, and `needed` and `slots` have `inputs` places.
unsafe extern "C" fn run_backward(
    user: *mut c_void,
    gradient: *mut C_tensor,
    needed: *const bool,
    slots: *mut *mut C_tensor,
    inputs: usize,
) -> i32 {
    // SAFETY: by the contract above.
    let (backward, gradient, needed, slots) = unsafe {
        (
            (*user.cast::<Option<Backward>>()).take(),
            Tensor::from_ptr(gradient),
            std::slice::from_raw_parts(needed, inputs),
            std::slice::from_raw_parts_mut(slots, inputs),
        )
    };
    let Some(backward) = backward else { return -1 };
    let Ok(results) = catch_unwind(AssertUnwindSafe(|| tch::no_grad(|| backward(&gradient, needed)))) else {
        return -1;
    };
    for (slot, result) in slots.iter_mut().zip(results) {
        if let Some(result) = result {
            let mut result = std::mem::ManuallyDrop::new(result);
            *slot = result.as_mut_ptr();
        }
    }
    0
}

/// # Safety
/// `user` is a `Box<Option<Backward>>` that nobody uses any more.
unsafe extern "C" fn drop_backward(user: *mut c_void) {
    // SAFETY: by the contract above.
    drop(unsafe { Box::from_raw(user.cast::<Option<Backward>>()) });
}

/// # Safety
/// `user` is a `Box<Arc<dyn Fn(usize) + Send + Sync>>`.
unsafe extern "C" fn call_ready(user: *mut c_void, index: usize) {
    // SAFETY: by the contract above.
    let ready = unsafe { &*user.cast::<std::sync::Arc<dyn Fn(usize) + Send + Sync>>() };
    if catch_unwind(AssertUnwindSafe(|| ready(index))).is_err() {
        // Unwinding through torch is undefined; the panic hook has said what happened.
        std::process::abort();
    }
}

/// # Safety
/// `user` is a `Box<Arc<dyn Fn(usize) + Send + Sync>>` that nobody uses any more.
unsafe extern "C" fn drop_ready(user: *mut c_void) {
    // SAFETY: by the contract above.
    drop(unsafe { Box::from_raw(user.cast::<std::sync::Arc<dyn Fn(usize) + Send + Sync>>()) });
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tch::{Device, Kind};

    use super::*;

    fn doubled(x: &Tensor) -> Tensor {
        record(&[x], || (x * 2.0, Box::new(|gradient: &Tensor, _: &[bool]| vec![Some(gradient * 2.0)])))
    }

    #[test]
    fn a_recorded_operation_joins_torchs_graph() {
        let x = Tensor::ones([3], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        (doubled(&(&x * 3.0)) * 5.0).sum(Kind::Float).backward();
        assert_eq!(x.grad(), Tensor::from_slice(&[30.0_f32; 3]));
    }

    #[test]
    fn nothing_is_kept_where_no_gradient_is_needed() {
        let held = Arc::new(());
        let operation = |x: &Tensor| {
            let held = Arc::clone(&held);
            record(&[x], || {
                let backward: Backward = Box::new(move |g, _| {
                    let _ = &held;
                    vec![Some(g.shallow_clone())]
                });
                (x * 1.0, backward)
            })
        };
        let plain = Tensor::ones([2], (Kind::Float, Device::Cpu));
        let _out = operation(&plain);
        assert_eq!(Arc::strong_count(&held), 1);
        let leaf = plain.set_requires_grad(true);
        let out = operation(&leaf);
        assert_eq!(Arc::strong_count(&held), 2);
        out.sum(Kind::Float).backward();
        assert_eq!(Arc::strong_count(&held), 1, "what backward holds goes with it");
        let out = operation(&leaf);
        drop(out);
        assert_eq!(Arc::strong_count(&held), 1, "a graph that is dropped takes it along");
    }

    #[test]
    fn a_panic_in_backward_is_an_error_of_the_backward_pass() {
        let x = Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let y = record(&[&x], || (&x * 1.0, Box::new(|_: &Tensor, _: &[bool]| panic!("a fault"))));
        let caught = catch_unwind(AssertUnwindSafe(|| y.sum(Kind::Float).backward()));
        assert!(caught.is_err());
    }

    #[test]
    fn gradients_are_announced_from_the_last_layer_to_the_first() {
        let leaf = || Tensor::ones([2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let (first, last, unused) = (leaf(), leaf(), leaf());
        let seen = Arc::new(Mutex::new(Vec::new()));
        for (index, leaf) in [&first, &last, &unused].into_iter().enumerate() {
            let seen = Arc::clone(&seen);
            on_gradient(leaf, index, Arc::new(move |index| seen.lock().unwrap().push(index))).unwrap();
        }
        for _ in 0..2 {
            ((&first * 2.0).tanh() * &last * &first).sum(Kind::Float).backward();
        }
        assert_eq!(*seen.lock().unwrap(), [1, 0, 1, 0], "once a backward pass, though `first` is used twice");
        let error = on_gradient(&(&first * 1.0), 0, Arc::new(|_| ())).unwrap_err().to_string();
        assert!(error.contains("leaf"), "{error}");
    }
}
