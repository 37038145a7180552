//! What the HDF5 library offers and its Rust crate does not: filters of our own, and single fields of compound tables.
//! With `mapping.rs` the only place of this crate where the compiler takes our word.

use std::cell::RefCell;
use std::ffi::{CStr, c_int, c_uint, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::LazyLock;

use hdf5::datatype::Datatype;
use hdf5::types::{CompoundField, CompoundType, TypeDescriptor};
use hdf5::{Dataset, H5Type};
use hdf5_sys::h5::{H5allocate_memory, H5free_memory};
use hdf5_sys::h5d::H5Dread;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::H5S_ALL;
use hdf5_sys::h5z::{H5Z_CLASS_T_VERS, H5Z_FLAG_REVERSE, H5Z_class2_t, H5Z_func_t, H5Zregister};

use super::filters;

/// Makes the filters known to the library, once.
pub(super) fn register() {
    static DONE: LazyLock<()> = LazyLock::new(|| {
        class(filters::BLOSC, c"blosc", Some(undo::<{ filters::BLOSC }>));
        class(filters::LZ4, c"lz4", Some(undo::<{ filters::LZ4 }>));
        class(filters::BITSHUFFLE, c"bitshuffle", Some(undo::<{ filters::BITSHUFFLE }>));
        class(filters::ZSTD, c"zstd", Some(undo::<{ filters::ZSTD }>));
    });
    LazyLock::force(&DONE);
}

/// Registers one filter. Where the library refuses, [`filters::check`] says that the filter is not there.
fn class(id: i32, name: &'static CStr, filter: H5Z_func_t) {
    let class = H5Z_class2_t {
        version: H5Z_CLASS_T_VERS as c_int,
        id,
        encoder_present: 0,
        decoder_present: 1,
        name: name.as_ptr(),
        can_apply: None,
        set_local: None,
        filter,
    };
    // SAFETY: the library copies the class during the call; the name it keeps a pointer to is static, and the function
    // is one of the kind that it calls. `sync` holds the lock that every call of the library needs.
    hdf5::sync::sync(|| unsafe { H5Zregister((&raw const class).cast()) });
}

/// The library's call for one chunk: takes its buffer, leaves another with what was decoded, and says how long that is;
/// 0 is failure.
unsafe extern "C" fn undo<const ID: i32>(
    flags: c_uint,
    n_parameters: usize,
    parameters: *const c_uint,
    n_bytes: usize,
    buffer_size: *mut usize,
    buffer: *mut *mut c_void,
) -> usize {
    if flags & H5Z_FLAG_REVERSE == 0 {
        return 0;
    }
    // SAFETY: the library hands over an array of `n_parameters` numbers, or none, and a buffer of at least `n_bytes`
    // bytes that it gave us; nobody else looks at either during the call.
    let (parameters, chunk) = unsafe {
        let parameters = if n_parameters == 0 { &[][..] } else { std::slice::from_raw_parts(parameters, n_parameters) };
        (parameters, std::slice::from_raw_parts((*buffer).cast::<u8>(), n_bytes))
    };
    // A panic must not cross into C.
    let decoded = catch_unwind(AssertUnwindSafe(|| filters::decode(ID, parameters, chunk)));
    let Ok(Ok(decoded)) = decoded else { return 0 };
    // SAFETY: the new buffer comes from the library's own allocator, as it asks for, and has room for what is copied
    // into it; the old one is the library's too and is given back once, after the last look at it.
    unsafe {
        let fresh = H5allocate_memory(decoded.len().max(1), 0);
        if fresh.is_null() {
            return 0;
        }
        std::ptr::copy_nonoverlapping(decoded.as_ptr(), fresh.cast::<u8>(), decoded.len());
        H5free_memory(*buffer);
        *buffer = fresh;
        *buffer_size = decoded.len().max(1);
    }
    decoded.len()
}

thread_local! {
    /// Name of the field that [`Field`] stands for.
    static FIELD: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A table's row of which one field is looked at: the library leaves the others out.
#[repr(transparent)]
struct Field<T>(T);

// SAFETY: the type described is a compound of one field, a `T` at offset 0, and as large as a `T`: what the type is.
unsafe impl<T: H5Type> H5Type for Field<T> {
    fn type_descriptor() -> TypeDescriptor {
        alone(&FIELD.with_borrow(Clone::clone), T::type_descriptor(), size_of::<T>())
    }
}

/// A compound of one field.
fn alone(name: &str, described: TypeDescriptor, size: usize) -> TypeDescriptor {
    TypeDescriptor::Compound(CompoundType { fields: vec![CompoundField::new(name, described, 0, 0)], size })
}

/// The field `name` of every row of a compound table.
pub(super) fn field<T: H5Type>(table: &Dataset, name: &str) -> hdf5::Result<Vec<T>> {
    FIELD.replace(name.into());
    let rows = table.read_raw::<Field<T>>();
    FIELD.take();
    Ok(rows?.into_iter().map(|row| row.0).collect())
}

/// The numbers of the field `name` of every row of a compound table: `width` each where the field is an array.
pub(super) fn field_rows(table: &Dataset, name: &str, width: Option<usize>) -> hdf5::Result<Vec<f32>> {
    let (one, each) = (f32::type_descriptor(), width.unwrap_or(1));
    let described = match width {
        Some(width) => TypeDescriptor::FixedArray(Box::new(one), width),
        None => one,
    };
    let memory = Datatype::from_descriptor(&alone(name, described, each * size_of::<f32>()))?;
    if table.dtype()?.conv_path(&memory).is_none() {
        return Err(format!("the field '{name}' holds no numbers").into());
    }
    let mut values = vec![0_f32; table.size() * each];
    // SAFETY: the library writes one item of `memory`, `each` numbers of four bytes, for every row of the table into
    // memory that has room for just that; any bits are an `f32`. `sync` holds the lock that every call needs.
    let code = hdf5::sync::sync(|| unsafe {
        H5Dread(table.id(), memory.id(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.as_mut_ptr().cast())
    });
    if code < 0 { Err(format!("the field '{name}' could not be read").into()) } else { Ok(values) }
}
