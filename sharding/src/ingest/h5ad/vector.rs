//! One-dimensional numbers of an HDF5 file, read by ranges into buffers that are used again.
//!
//! Numbers that lie in the file as they are, in one piece and little-endian, are read with one system call past the HDF5
//! library, whose calls take a lock and memory of their own; everything else goes through the library.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytemuck::AnyBitPattern;
use hdf5::Dataset;
use hdf5::dataset::Layout;
use hdf5::types::{FloatSize, IntSize, TypeDescriptor};

use super::failure::said;

/// Numbers compared with what the library reads before they are read past it.
const COMPARED: usize = 16;

pub(super) struct Vector {
    data: Dataset,
    kind: Option<Kind>,
    plain: Option<Plain>,
}

/// Where numbers lie that need no library.
struct Plain {
    file: File,
    offset: u64,
}

/// Types that are read as they are stored, and turned into what is wanted here.
#[derive(Clone, Copy)]
enum Kind {
    U8,
    U16,
    U32,
    I32,
    I64,
    F32,
    F64,
}

impl Kind {
    fn of(described: &TypeDescriptor) -> Option<Self> {
        Some(match described {
            TypeDescriptor::Unsigned(IntSize::U1) => Self::U8,
            TypeDescriptor::Unsigned(IntSize::U2) => Self::U16,
            TypeDescriptor::Unsigned(IntSize::U4) => Self::U32,
            TypeDescriptor::Integer(IntSize::U4) => Self::I32,
            TypeDescriptor::Integer(IntSize::U8) => Self::I64,
            TypeDescriptor::Float(FloatSize::U4) => Self::F32,
            TypeDescriptor::Float(FloatSize::U8) => Self::F64,
            _ => return None,
        })
    }
}

/// What numbers are read as.
pub(super) trait Wanted: hdf5::H5Type + AnyBitPattern {
    fn of_whole(number: i64) -> Self;
    fn of_real(number: f64) -> Self;
}

impl Wanted for f32 {
    fn of_whole(number: i64) -> Self {
        number as Self
    }

    fn of_real(number: f64) -> Self {
        number as Self
    }
}

impl Wanted for u32 {
    /// What is no column becomes the largest number, which no matrix has columns for.
    fn of_whole(number: i64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }

    fn of_real(number: f64) -> Self {
        if number.fract() == 0.0 { Self::of_whole(number as i64) } else { Self::MAX }
    }
}

impl Vector {
    pub(super) fn new(data: Dataset) -> Self {
        let kind = data.dtype().and_then(|dtype| dtype.to_descriptor()).ok().and_then(|described| Kind::of(&described));
        let mut vector = Self { plain: Plain::of(&data), data, kind };
        if !vector.agrees() {
            vector.plain = None;
        }
        vector
    }

    pub(super) fn len(&self) -> usize {
        self.data.size()
    }

    /// Whether the beginning, read past the library, is what the library reads.
    fn agrees(&self) -> bool {
        let span = 0..self.len().min(COMPARED);
        let mut direct = Vec::<f32>::new();
        self.read(span.clone(), &mut Vec::new(), &mut direct).is_ok()
            && slice::<f32>(&self.data, span).is_ok_and(|known| known == direct)
    }

    /// Reads the numbers `span` into `out`; `bytes` is scratch.
    pub(super) fn read<T: Wanted>(
        &self,
        span: Range<usize>,
        bytes: &mut Vec<u8>,
        out: &mut Vec<T>,
    ) -> Result<(), String> {
        match self.kind {
            Some(Kind::U8) => self.read_as(span, bytes, out, |number: u8| T::of_whole(number.into())),
            Some(Kind::U16) => self.read_as(span, bytes, out, |number: u16| T::of_whole(number.into())),
            Some(Kind::U32) => self.read_as(span, bytes, out, |number: u32| T::of_whole(number.into())),
            Some(Kind::I32) => self.read_as(span, bytes, out, |number: i32| T::of_whole(number.into())),
            Some(Kind::I64) => self.read_as(span, bytes, out, T::of_whole),
            Some(Kind::F32) => self.read_as(span, bytes, out, |number: f32| T::of_real(number.into())),
            Some(Kind::F64) => self.read_as(span, bytes, out, T::of_real),
            // The library knows how to turn it.
            None => self.read_as(span, bytes, out, |number: T| number),
        }
    }

    fn read_as<S: AnyBitPattern + hdf5::H5Type, T>(
        &self,
        span: Range<usize>,
        bytes: &mut Vec<u8>,
        out: &mut Vec<T>,
        convert: impl Fn(S) -> T,
    ) -> Result<(), String> {
        out.clear();
        let Some(Plain { file, offset }) = &self.plain else {
            out.extend(slice::<S>(&self.data, span)?.into_iter().map(convert));
            return Ok(());
        };
        let size = size_of::<S>();
        bytes.resize(span.len() * size, 0);
        let at = offset + (span.start * size) as u64;
        file.read_exact_at(bytes, at).map_err(|error| {
            format!("{error} at byte {at}; the file looks truncated or damaged, copy or download it again")
        })?;
        out.extend(bytes.chunks_exact(size).map(|number| convert(bytemuck::pod_read_unaligned(number))));
        Ok(())
    }
}

impl Plain {
    fn of(data: &Dataset) -> Option<Self> {
        let dtype = data.dtype().ok()?;
        Kind::of(&dtype.to_descriptor().ok()?)?;
        let little = dtype.size() == 1 || dtype.byte_order() == hdf5::datatype::ByteOrder::LittleEndian;
        let offset = data.offset().filter(|_| data.layout() == Layout::Contiguous && little)?;
        Some(Self { file: File::open(data.filename()).ok()?, offset })
    }
}

fn slice<T: hdf5::H5Type>(data: &Dataset, span: Range<usize>) -> Result<Vec<T>, String> {
    Ok(data.read_slice_1d::<T, _>(span).map_err(said)?.into_raw_vec_and_offset().0)
}
