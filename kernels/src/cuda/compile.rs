//! From CUDA source to PTX, by NVRTC.
//!
//! Guarantee: a source is compiled once per architecture and process, with operations that are neither fused nor
//! approximate, so that single-precision results have the bits of the CPU.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cudarc::nvrtc::{CompileError, CompileOptions, Ptx, compile_ptx_with_opts, sys};

use crate::cuda::CudaError;

/// A CUDA source of this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// Name of its file.
    pub name: &'static str,
    pub(crate) text: &'static str,
}

macro_rules! source {
    ($name:literal) => {
        Source {
            name: $name,
            text: concat!(include_str!("number.cuh"), "#line 1 \"", $name, "\"\n", include_str!($name)),
        }
    };
}

impl Source {
    /// Sparse rows to dense log-normalised rows.
    pub const EXPRESSION: Self = source!("expression.cu");
    /// Moments of columns.
    pub const MOMENTS: Self = source!("moments.cu");
    /// The optimizer step, the norm of gradients, and conversions.
    pub const OPTIM: Self = source!("optim.cu");
    /// Every source.
    pub const ALL: [Self; 3] = [Self::EXPRESSION, Self::MOMENTS, Self::OPTIM];
}

type Compiled = Mutex<HashMap<(&'static str, String), Arc<Ptx>>>;

/// Compiles a source for an architecture (`sm_90`), or returns what was compiled before.
///
/// # Errors
/// When there is no compiler, or it refuses: with what it says.
pub fn compile(source: Source, arch: &str) -> Result<Arc<Ptx>, CudaError> {
    static COMPILED: OnceLock<Compiled> = OnceLock::new();
    let compiled = COMPILED.get_or_init(Mutex::default);
    // The lock is held while compiling: threads that want the same kernel wait for it.
    let mut compiled = compiled.lock().unwrap_or_else(PoisonError::into_inner);
    // The text itself is the key: a map compares it by its hash first.
    let key = (source.text, arch.to_owned());
    if let Some(ptx) = compiled.get(&key) {
        return Ok(ptx.clone());
    }
    let ptx = Arc::new(compile_anew(source, arch)?);
    compiled.insert(key, ptx.clone());
    Ok(ptx)
}

fn compile_anew(source: Source, arch: &str) -> Result<Ptx, CudaError> {
    if !has_compiler() {
        return Err(CudaError::NoCompiler);
    }
    let options = CompileOptions {
        ftz: Some(false),
        prec_div: Some(true),
        prec_sqrt: Some(true),
        fmad: Some(false),
        name: Some(source.name.to_owned()),
        options: vec![format!("--gpu-architecture={arch}")],
        ..CompileOptions::default()
    };
    compile_ptx_with_opts(source.text, options).map_err(|error| CudaError::Compile {
        source_name: source.name,
        arch: arch.to_owned(),
        log: match error {
            CompileError::CompileError { nvrtc, log, .. } => format!("{nvrtc:?}\n{}", log.to_string_lossy()),
            other => format!("{other:?}"),
        },
    })
}

/// Whether NVRTC can be opened. Asked first, since its bindings panic where it is missing.
pub fn has_compiler() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // SAFETY: opens NVIDIA's library, whose initialisers have no demands.
    *FOUND.get_or_init(|| unsafe { sys::is_culib_present() })
}
