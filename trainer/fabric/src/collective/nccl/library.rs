//! NCCL, opened while the program runs.
//!
//! Guarantee: at most one NCCL is opened in a process, all its functions are found before any is called, and it stays
//! open until the process ends.

use std::ffi::{CStr, OsString, c_char, c_int};
use std::path::{Path, PathBuf};

use libloading::os::unix::{Library as Handle, RTLD_LOCAL, RTLD_NOW};

use super::error::{Member, NcclError, hint};
use super::interface::{Code, Functions, SUCCESS, UniqueId};
use super::version::Version;

/// The name under which NVIDIA publishes every NCCL 2.
const SONAME: &str = "libnccl.so.2";
/// Names the library to open.
const VARIABLE: &str = "SYNCYTE_NCCL";
/// Opens only what is open already (`dlopen(3)`; the number is that of Linux).
const RTLD_NOLOAD: c_int = 4;

/// An open NCCL.
#[derive(Clone, Debug)]
pub struct Library {
    pub(super) functions: Functions,
    pub(super) version: Version,
    pub(super) path: PathBuf,
}

impl Library {
    /// Opens `libnccl.so.2`: the one that is loaded already (libtorch's, once `libtorch_cuda.so` is open), else the one
    /// that `explicit` or the variable `SYNCYTE_NCCL` names, else the one on the loader's search path.
    ///
    /// To use another NCCL than the one beside libtorch, name it and open it before `libtorch_cuda.so`: libtorch then
    /// takes it too, since both answer to one name.
    ///
    /// # Errors
    /// When there is none, when it lacks a function, and when one is named while another is loaded.
    pub fn open(explicit: Option<&Path>) -> Result<Self, NcclError> {
        let loaded = load(Path::new(SONAME), RTLD_NOLOAD).ok();
        match (asked(explicit, std::env::var_os(VARIABLE)), loaded) {
            (Some(path), loaded) => Self::resolve(open_named(&path, loaded)?, &path),
            (None, Some(loaded)) => Self::resolve(loaded, Path::new(SONAME)),
            (None, None) => {
                let found = load(Path::new(SONAME), 0).map_err(|reason| NcclError::NotFound { reason })?;
                Self::resolve(found, Path::new(SONAME))
            }
        }
    }

    fn resolve(handle: Handle, name: &Path) -> Result<Self, NcclError> {
        let lacks = |symbol, version| NcclError::MissingSymbol { path: name.to_owned(), symbol, version };
        let version = version_of(&handle).ok_or_else(|| lacks(GET_VERSION, None))?;
        let functions = Functions::resolve(&handle).map_err(|symbol| lacks(symbol, Some(version)))?;
        let path = file_of(&handle).unwrap_or_else(|| name.to_owned());
        // Threads of NCCL may run until the process ends, so it is never closed.
        std::mem::forget(handle);
        Ok(Self { functions, version, path })
    }

    /// Its release.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The file that it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the id of a new communicator (User Guide, "ncclGetUniqueId"). One rank makes it, and starts a thread here
    /// that the others connect to; it must live until all of them have started.
    ///
    /// # Errors
    /// When NCCL finds no network interface to listen on.
    pub fn unique_id(&self) -> Result<UniqueId, NcclError> {
        let mut id = UniqueId([0; 128]);
        // SAFETY: the id is valid for writes of its 128 bytes.
        let code = unsafe { (self.functions.get_unique_id)(&raw mut id) };
        if code == SUCCESS { Ok(id) } else { Err(self.failure("ncclGetUniqueId", None, code)) }
    }

    /// What a code other than success means (User Guide, "ncclGetErrorString", "ncclGetLastError").
    pub(super) fn failure(&self, call: &'static str, member: Option<Member>, code: Code) -> NcclError {
        // SAFETY: takes any code and returns a constant text.
        let name = text(unsafe { (self.functions.get_error_string)(code) });
        // SAFETY: the communicator is not used and may be null; the text is a buffer of the library.
        let text = text(unsafe { (self.functions.get_last_error)(std::ptr::null_mut()) });
        let hint = hint(code, &text);
        NcclError::Call { call, member, code, name, text, hint }
    }
}

/// What is asked for by name: the argument goes before the variable, and an empty variable asks for nothing.
pub(super) fn asked(explicit: Option<&Path>, variable: Option<OsString>) -> Option<PathBuf> {
    explicit.map(Path::to_owned).or_else(|| variable.filter(|name| !name.is_empty()).map(PathBuf::from))
}

fn open_named(path: &Path, loaded: Option<Handle>) -> Result<Handle, NcclError> {
    let Some(loaded) = loaded else {
        return load(path, 0).map_err(|reason| unopened(path, reason));
    };
    load(path, RTLD_NOLOAD).map_err(|reason| {
        if !path.exists() {
            return unopened(path, reason);
        }
        let loaded = file_of(&loaded).unwrap_or_else(|| PathBuf::from(SONAME));
        NcclError::OtherLoaded { asked: path.to_owned(), loaded }
    })
}

fn unopened(path: &Path, reason: String) -> NcclError {
    let path = path.to_owned();
    if path.exists() { NcclError::Open { path, reason } } else { NcclError::NoSuchFile { path } }
}

fn load(name: &Path, flags: c_int) -> Result<Handle, String> {
    // SAFETY: the initialisers of NCCL have no demands; for another library in its place the user answers.
    let opened = unsafe { Handle::open(Some(name), RTLD_NOW | RTLD_LOCAL | flags) };
    opened.map_err(|error| std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string))
}

const GET_VERSION: &str = "ncclGetVersion";
type GetVersion = unsafe extern "C" fn(*mut c_int) -> Code;

fn get_version(handle: &Handle) -> Option<GetVersion> {
    // SAFETY: the symbol has the type that NCCL's header declares.
    unsafe { handle.get::<GetVersion>(GET_VERSION) }.ok().map(|function| *function)
}

fn version_of(handle: &Handle) -> Option<Version> {
    let mut code = 0;
    // SAFETY: the number is valid for writes.
    (unsafe { get_version(handle)?(&raw mut code) } == SUCCESS).then(|| Version::of_code(code))
}

/// The file that holds the library's code, by the table of what is mapped where (`proc(5)`).
fn file_of(handle: &Handle) -> Option<PathBuf> {
    let address = get_version(handle)? as usize;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let holds = |line: &&str| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let bound = |text| usize::from_str_radix(text, 16).ok();
        range.is_some_and(|(from, to)| bound(from) <= Some(address) && Some(address) < bound(to))
    };
    let line = maps.lines().find(holds)?;
    line.find('/').map(|start| PathBuf::from(&line[start..]))
}

/// A text of NCCL's.
fn text(start: *const c_char) -> String {
    if start.is_null() {
        return String::new();
    }
    // SAFETY: NCCL's texts are constants, or a buffer of the library whose last byte is always zero. Another thread may
    // write there: then the text is a mixture, never longer than the buffer.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().trim().to_owned()
}
