//! Every kernel compiles, without a GPU; with one, it gives what the CPU gives.

mod optim;

use std::io::Write;

use cudarc::driver::{CudaSlice, CudaStream, DeviceRepr};
use std::sync::Arc;

use super::*;
use crate::expression::{Genes, SKIP, log_normalise};
use crate::moments::{Moments, Space, Summary};
use crate::number::{Bf16, Element};
use crate::rows::{Rows, Scale};

/// Past the test harness, which would swallow what a passing test prints.
fn skip(reason: &str) {
    writeln!(std::io::stderr(), "skipped: {reason}").ok();
}

/// Whether there is a compiler. Continuous integration has one, or fails.
fn compiler() -> bool {
    if !has_compiler() {
        assert!(std::env::var_os("CI").is_none(), "{}", CudaError::NoCompiler);
        skip(&format!("CUDA kernels: {} (scripts/setup.sh --test installs it)", CudaError::NoCompiler));
    }
    has_compiler()
}

/// Names of the entry points of a source.
fn entries(source: Source) -> Vec<String> {
    let of_rows = |name: &dyn Fn(&str, &str) -> Vec<String>| {
        let columns = |value| ["u16", "u32"].into_iter().flat_map(move |column| name(value, column));
        ["u8", "u16", "u32", "f32"].into_iter().flat_map(columns).collect()
    };
    match source {
        Source::EXPRESSION => {
            of_rows(&|value, column| ["f32", "bf16"].map(|to| format!("log_normalise_{value}_{column}_{to}")).to_vec())
        }
        Source::MOMENTS => of_rows(&|value, column| vec![format!("moments_{value}_{column}"), "fold".to_owned()]),
        _ => {
            let of_gradients =
                ["update", "square_sums"].into_iter().flat_map(|name| ["f32", "bf16"].map(|g| format!("{name}_{g}")));
            of_gradients.chain(["convert_f32_bf16", "convert_bf16_f32"].map(str::to_owned)).collect()
        }
    }
}

#[test]
fn every_kernel_compiles_for_every_architecture() {
    if !compiler() {
        return;
    }
    for source in Source::ALL {
        for arch in ["sm_80", "sm_90", "sm_100"] {
            let ptx = compile(source, arch).unwrap_or_else(|error| panic!("{error}")).to_src();
            assert!(ptx.contains(&format!(".target {arch}")), "{arch}");
            for name in entries(source) {
                assert!(ptx.contains(&format!(".entry {name}(")), "{name} is missing in {}", source.name);
            }
            // A fused operation would round once where the CPU rounds twice.
            assert!(!ptx.contains("fma.rn.f32") && !ptx.contains("div.full") && !ptx.contains("approx.f32"), "{arch}");
            if source == Source::OPTIM {
                assert!(
                    ptx.contains("sqrt.rn.f32") && ptx.contains("div.rn.f32") && !ptx.contains("fma.rn.f64"),
                    "{arch}"
                );
            }
        }
    }
}

#[test]
fn a_kernel_is_compiled_once_for_an_architecture() {
    if compiler() {
        let [once, again] = [(); 2].map(|()| compile(Source::EXPRESSION, "sm_90").unwrap());
        assert!(Arc::ptr_eq(&once, &again));
        assert!(!Arc::ptr_eq(&once, &compile(Source::EXPRESSION, "sm_80").unwrap()));
    }
}

#[test]
fn what_does_not_compile_is_named_with_what_the_compiler_says() {
    if compiler() {
        let wrong = Source { name: "wrong.cu", text: "__global__ void kernel() { nonsense; }" };
        let error = compile(wrong, "sm_90").unwrap_err().to_string();
        assert!(error.contains("wrong.cu does not compile for sm_90") && error.contains("\"nonsense\""), "{error}");
        let error = compile(Source::MOMENTS, "sm_10").unwrap_err().to_string();
        assert!(error.contains("moments.cu does not compile for sm_10"), "{error}");
    }
}

/// The first GPU, if there are a driver, a GPU and a compiler.
fn device() -> Option<Device> {
    if !compiler() {
        return None;
    }
    match Device::new(0) {
        Ok(device) => Some(device),
        Err(error @ (CudaError::NoDriver | CudaError::Driver(_))) => {
            skip(&format!("CUDA kernels against the CPU: no GPU here ({error})"));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

const COLUMNS: usize = 4000;
const ROWS: usize = 150;

struct Block<V, C> {
    indptr: Vec<usize>,
    indices: Vec<C>,
    values: Vec<V>,
    totals: Vec<f32>,
}

/// Rows of uneven length, one of them empty, with a few large values.
fn block<V: Value, C: Column>(value: impl Fn(u32) -> V, column: impl Fn(usize) -> C) -> Block<V, C> {
    let mut block = Block { indptr: vec![0], indices: Vec::new(), values: Vec::new(), totals: Vec::new() };
    let mut state = 12_345_u32;
    for row in 0..ROWS {
        let mut total = 0.0;
        for gene in 0..COLUMNS {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let draw = state >> 8;
            if row != 3 && draw % 100 < row as u32 % 60 {
                let count = if draw.is_multiple_of(1000) { 200 } else { 1 + draw / 100 % 7 };
                block.indices.push(column(gene));
                block.values.push(value(count));
                total += value(count).to_f32();
            }
        }
        block.indptr.push(block.values.len());
        block.totals.push(total);
    }
    block
}

/// A block on the device.
struct Held<V, C> {
    indptr: CudaSlice<u64>,
    indices: CudaSlice<C>,
    values: CudaSlice<V>,
    totals: CudaSlice<f32>,
}

impl<V: Value + DeviceRepr, C: Column + DeviceRepr> Block<V, C> {
    fn rows(&self) -> Rows<'_, V, C> {
        Rows { indptr: &self.indptr, indices: &self.indices, values: &self.values }
    }

    fn held(&self, stream: &Arc<CudaStream>) -> Held<V, C> {
        let indptr: Vec<u64> = self.indptr.iter().map(|&start| start as u64).collect();
        Held {
            indptr: stream.clone_htod(&indptr).unwrap(),
            indices: stream.clone_htod(&self.indices).unwrap(),
            values: stream.clone_htod(&self.values).unwrap(),
            totals: stream.clone_htod(&self.totals).unwrap(),
        }
    }
}

impl<V, C> Held<V, C> {
    fn rows(&self, logged: bool) -> DeviceRows<'_, V, C> {
        let totals = (!logged).then(|| self.totals.as_view());
        DeviceRows {
            indptr: self.indptr.as_view(),
            indices: self.indices.as_view(),
            values: self.values.as_view(),
            totals,
        }
    }
}

fn dense_rows_agree<V, C, T>(device: &mut Device, block: &Block<V, C>, width: usize)
where
    V: Value + DeviceRepr,
    C: Column + DeviceRepr,
    T: Element + DeviceRepr + cudarc::driver::ValidAsZeroBits,
{
    let stream = device.stream().clone();
    let held = block.held(&stream);
    let places: Vec<u32> =
        (0..COLUMNS).map(|gene| if gene % 5 == 0 { SKIP } else { (COLUMNS - 1 - gene) as u32 }).collect();
    let places_held = stream.clone_htod(&places).unwrap();
    for (logged, all) in [(false, false), (false, true), (true, false)] {
        let scale = if logged { Scale::LogNormalised } else { Scale::Library(&block.totals) };
        let (genes, device_genes) = if all {
            (Genes::All(COLUMNS), DeviceGenes::All(COLUMNS))
        } else {
            (Genes::Places(&places, width), DeviceGenes::Places(places_held.as_view(), width))
        };
        let mut want = vec![T::from_f32(7.0); ROWS * genes.width()];
        log_normalise(block.rows(), scale, genes, &mut want).unwrap();
        let mut out = stream.clone_htod(&vec![T::from_f32(8.0); want.len()]).unwrap();
        device.log_normalise(&held.rows(logged), &device_genes, &mut out.as_view_mut()).unwrap();
        device.finish().unwrap();
        let found = stream.clone_dtoh(&out).unwrap();
        let at = found.iter().zip(&want).position(|(found, want)| found != want);
        assert_eq!(at.map(|at| (found[at], want[at])), None, "{} {} {} {logged} {all}", V::NAME, C::NAME, T::NAME);
    }
}

#[test]
fn dense_rows_on_a_gpu_have_the_bits_of_the_cpu() {
    let Some(mut device) = device() else { return };
    let short = block(|count| count as u16, |gene| gene as u16);
    dense_rows_agree::<_, _, f32>(&mut device, &short, 1000);
    dense_rows_agree::<_, _, Bf16>(&mut device, &short, 3999);
    // Wider than one tile.
    dense_rows_agree::<_, _, f32>(&mut device, &short, 20_000);
    let bytes = block(|count| count as u8, |gene| gene as u16);
    dense_rows_agree::<_, _, f32>(&mut device, &bytes, 1000);
    let mixed = block(|count| count as u16, |gene| gene as u32);
    dense_rows_agree::<_, _, f32>(&mut device, &mixed, 1000);
    let long = block(|count| count, |gene| gene as u32);
    dense_rows_agree::<_, _, f32>(&mut device, &long, 1000);
    let real = block(|count| count as f32 * 0.37, |gene| gene as u32);
    dense_rows_agree::<_, _, f32>(&mut device, &real, 1000);
    dense_rows_agree::<_, _, Bf16>(&mut device, &real, 1000);
}

fn near(found: &Summary, want: &Summary) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b.abs() + 1e-14 * want.count as f64;
    found.count == want.count && near(found.sum, want.sum) && near(found.m2, want.m2)
}

fn moments_agree<V: Value + DeviceRepr, C: Column + DeviceRepr>(device: &mut Device, block: &Block<V, C>) {
    let stream = device.stream().clone();
    let held = block.held(&stream);
    let ceiling: Vec<f64> = (0..COLUMNS).map(|gene| 1.5 + (gene % 9) as f64).collect();
    let ceiling_held = stream.clone_htod(&ceiling).unwrap();
    let library = Scale::Library(&block.totals);
    for (space, device_space, logged, clipped) in [
        (Space::Stored, DeviceSpace::Stored, false, false),
        (Space::Stored, DeviceSpace::Stored, true, true),
        (Space::Log(library), DeviceSpace::Log, false, false),
        (Space::Log(Scale::LogNormalised), DeviceSpace::Log, true, false),
        (Space::Normalised(library), DeviceSpace::Normalised, false, true),
        (Space::Normalised(Scale::LogNormalised), DeviceSpace::Normalised, true, false),
    ] {
        let mut want = Moments::new(COLUMNS);
        want.push_rows(block.rows(), space, clipped.then_some(&ceiling[..])).unwrap();
        let view = clipped.then(|| ceiling_held.as_view());
        let found = [(); 2].map(|()| device.moments(COLUMNS, &held.rows(logged), device_space, view.as_ref()).unwrap());
        assert_eq!(found[0], found[1], "two runs differ");
        assert_eq!(found[0].rows(), ROWS as u64);
        for gene in 0..COLUMNS {
            let (found, want) = (found[0].column(gene), want.column(gene));
            assert!(near(&found, &want), "{} {} {device_space:?} {found:?} {want:?}", V::NAME, C::NAME);
        }
    }
}

#[test]
fn moments_on_a_gpu_equal_those_of_the_cpu_and_repeat() {
    let Some(mut device) = device() else { return };
    moments_agree(&mut device, &block(|count| (count % 50) as u8, |gene| gene as u16));
    moments_agree(&mut device, &block(|count| (count % 50) as u16, |gene| gene as u16));
    moments_agree(&mut device, &block(|count| (count % 50) as u16, |gene| gene as u32));
    moments_agree(&mut device, &block(|count| count as f32 * 0.037, |gene| gene as u32));
}

#[test]
fn a_bad_row_on_a_gpu_is_named_and_read_nowhere() {
    let Some(mut device) = device() else { return };
    let stream = device.stream().clone();
    let mut block = block(|count| count as u16, |gene| gene as u16);
    let bad = block.indptr[20];
    block.indices[bad] = COLUMNS as u16;
    block.indptr[70] = usize::MAX;
    let held = block.held(&stream);
    let mut out = stream.alloc_zeros::<f32>(ROWS * COLUMNS).unwrap();
    device.log_normalise(&held.rows(false), &DeviceGenes::All(COLUMNS), &mut out.as_view_mut()).unwrap();
    let error = device.finish().unwrap_err().to_string();
    assert!(error.starts_with("row 20 on the device names a column beyond the last"), "{error}");
    device.finish().unwrap();
    let error = device.moments(COLUMNS, &held.rows(false), DeviceSpace::Stored, None).unwrap_err().to_string();
    assert!(error.starts_with("row 20 on the device"), "{error}");
    let places = DeviceGenes::All(COLUMNS + 1);
    let error = device.log_normalise(&held.rows(false), &places, &mut out.as_view_mut()).unwrap_err().to_string();
    assert!(error.contains("600000 places for 150 rows of 4001 on the device"), "{error}");
}
