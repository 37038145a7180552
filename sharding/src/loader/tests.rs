use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::{BatchRequest, CachedRows, LoadedBatch, Loader, LoaderConfig, LoaderError, RowReader, Scratch};
use crate::block::{Block, BlockTypes, NumberType};
use crate::csr::Csr;
use crate::order::{Order, OrderConfig};
use crate::philox::{Philox, Purpose};

const GENES: usize = 50;

/// A store in memory that counts its reads and misbehaves at one chunk if asked to.
struct Memory {
    cells: Csr,
    chunk_rows: usize,
    reads: Vec<AtomicUsize>,
    fault: Option<(usize, Fault)>,
    delay: Duration,
    /// Whether rows say how long they are before they are read.
    lengths_known: bool,
}

#[derive(Clone, Copy)]
enum Fault {
    Corrupt,
    /// The first read fails, the later ones do not.
    Passing,
    Short,
    Panic,
    Hang,
}

impl Memory {
    fn new(n_cells: usize, chunk_rows: usize) -> Self {
        let mut random = Philox::new(1, Purpose::Trial, 0, 0);
        let mut cells = Csr::empty(GENES);
        for cell in 0..n_cells {
            let columns: Vec<u32> = (0..GENES as u32).filter(|_| random.below(4) == 0).collect();
            let values = vec![cell as f32 + 0.5; columns.len()];
            cells.push_row(&columns, &values);
        }
        let reads = (0..n_cells.div_ceil(chunk_rows)).map(|_| AtomicUsize::new(0)).collect();
        Self { cells, chunk_rows, reads, fault: None, delay: Duration::ZERO, lengths_known: true }
    }

    fn with_fault(self, chunk: usize, fault: Fault) -> Self {
        Self { fault: Some((chunk, fault)), ..self }
    }

    fn take(&self, rows: impl IntoIterator<Item = usize>) -> Csr {
        let mut block = Csr::empty(GENES);
        for row in rows {
            let (indices, values) = self.cells.row(row);
            block.push_row(indices, values);
        }
        block
    }

    fn expected(&self, rows: &[u64]) -> Csr {
        self.take(rows.iter().map(|&row| row as usize))
    }
}

impl RowReader for Memory {
    type Error = std::io::Error;

    fn name(&self) -> String {
        "memory.zarr".into()
    }

    fn content_hash(&self) -> Option<&str> {
        Some("memory")
    }

    fn n_cells(&self) -> usize {
        self.cells.n_rows()
    }

    fn n_genes(&self) -> usize {
        GENES
    }

    fn nnz(&self) -> u64 {
        self.cells.nnz() as u64
    }

    fn chunk_rows(&self) -> usize {
        self.chunk_rows
    }

    fn block_types(&self) -> BlockTypes {
        BlockTypes { columns: NumberType::U32, values: NumberType::F32 }
    }

    fn library_size(&self, _row: usize) -> Option<f32> {
        None
    }

    fn is_log_normalised(&self) -> bool {
        false
    }

    fn row_nnz(&self, row: usize) -> Option<usize> {
        self.lengths_known.then(|| self.cells.row(row).0.len())
    }

    fn read_block(&self, rows: Range<usize>, _: &mut Scratch, block: &mut Block) -> Result<(), std::io::Error> {
        block.assign(&self.read_rows(rows)?);
        Ok(())
    }
}

impl Memory {
    fn read_rows(&self, rows: Range<usize>) -> Result<Csr, std::io::Error> {
        let chunk = rows.start / self.chunk_rows;
        self.reads[chunk].fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.delay);
        match self.fault {
            Some((at, fault)) if at == chunk => match fault {
                Fault::Passing if self.reads[chunk].load(Ordering::SeqCst) > 1 => Ok(self.take(rows)),
                Fault::Corrupt | Fault::Passing => Err(std::io::Error::other("checksum does not match")),
                Fault::Short => Ok(self.take(rows.skip(1))),
                Fault::Panic => panic!("decoder bug"),
                Fault::Hang => {
                    std::thread::sleep(Duration::from_secs(3));
                    Ok(self.take(rows))
                }
            },
            _ => Ok(self.take(rows)),
        }
    }
}

fn config(threads: usize, depth: usize) -> LoaderConfig {
    LoaderConfig {
        threads,
        depth,
        cache_bytes: 1 << 20,
        timeout: Duration::from_mins(1),
        retry_pause: Duration::from_millis(1),
        ..LoaderConfig::default()
    }
}

fn request(step: u64, rows: Vec<u64>) -> BatchRequest {
    BatchRequest { step, rows, partners: Vec::new() }
}

fn load_all(store: &Arc<Memory>, requests: Vec<BatchRequest>, config: &LoaderConfig) -> Vec<LoadedBatch> {
    Loader::new(store, requests, config).unwrap().map(Result::unwrap).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn batches_are_exactly_those_asked_for_in_order_under_any_settings(
        rows in prop::collection::vec(prop::collection::vec(0_u64..200, 0..12), 0..20),
        with_partners: bool,
        lengths_known: bool,
        (threads, depth, chunk_rows) in (1_usize..5, 1_usize..5, 1_usize..80),
        cache_bytes in prop::sample::select(vec![0, 3000, 1 << 20]),
        hold in prop::collection::vec(0_u64..200, 0..40),
        hold_bytes in prop::sample::select(vec![0, 3000, 1 << 20]),
    ) {
        let store = Arc::new(Memory { lengths_known, ..Memory::new(200, chunk_rows) });
        let partners = |rows: &[u64]| rows.iter().map(|row| (row * 7 + 3) % 200).collect();
        let requests: Vec<BatchRequest> = (10..)
            .zip(&rows)
            .map(|(step, rows)| BatchRequest {
                step,
                rows: rows.clone(),
                partners: if with_partners { partners(rows) } else { Vec::new() },
            })
            .collect();
        let config = LoaderConfig { cache_bytes, hold, hold_bytes, ..config(threads, depth) };
        let batches = load_all(&store, requests.clone(), &config);
        prop_assert_eq!(batches.len(), requests.len());
        for (batch, request) in batches.iter().zip(&requests) {
            prop_assert_eq!((batch.step, &batch.rows), (request.step, &request.rows));
            prop_assert_eq!(batch.cells.to_csr(), store.expected(&request.rows));
            match &batch.partners {
                Some(partners) => {
                    prop_assert_eq!(&partners.rows, &request.partners);
                    prop_assert_eq!(partners.cells.to_csr(), store.expected(&request.partners));
                }
                None => prop_assert!(request.partners.is_empty()),
            }
        }
    }
}

#[test]
fn a_chunk_is_decoded_once_however_many_threads_want_it() {
    let store = Arc::new(Memory { delay: Duration::from_millis(2), ..Memory::new(400, 40) });
    let mut random = Philox::new(2, Purpose::Trial, 0, 0);
    let requests = (0..40).map(|step| request(step, (0..32).map(|_| random.below(400)).collect())).collect();
    assert_eq!(load_all(&store, requests, &config(8, 8)).len(), 40);
    assert!(store.reads.iter().all(|reads| reads.load(Ordering::SeqCst) == 1));
}

#[test]
fn held_rows_cost_one_decode_of_their_chunk_even_without_a_cache() {
    let store = Arc::new(Memory::new(400, 40));
    let controls: Vec<u64> = (0..400).step_by(8).collect();
    let mut random = Philox::new(2, Purpose::Trial, 0, 0);
    let batch = |step| request(step, (0..32).map(|_| controls[random.below(50) as usize]).collect());
    let requests = (0..40).map(batch).collect();
    let config = LoaderConfig { cache_bytes: 0, hold: controls.clone(), ..config(1, 2) };
    assert_eq!(load_all(&store, requests, &config).len(), 40);
    assert!(store.reads.iter().all(|reads| reads.load(Ordering::SeqCst) == 1));
}

#[test]
fn with_the_cache_an_order_asks_for_every_chunk_is_decoded_about_once_an_epoch() {
    let store = Arc::new(Memory::new(8000, 20));
    let fold: Vec<u64> = (0..8000).filter(|row| row % 10 < 7).collect();
    let settings = OrderConfig { seed: 1, streams: 4, block_rows: 20, window_blocks: 5, batch: 32 };
    let order = Order::new(fold.len(), settings.clone()).unwrap();
    let cache_bytes = LoaderConfig::cache_for(&settings, 1, fold.len(), &*store);
    let whole = 8 * store.cells.nnz();
    assert!(cache_bytes < whole / 4, "the windows are small against the store: {cache_bytes} of {whole}");
    let rows = |step| order.batch(0, step).iter().map(|&at| fold[at as usize]).collect();
    let requests: Vec<BatchRequest> = (0..order.steps_per_epoch()).map(|step| request(step, rows(step))).collect();
    let mut loader = Loader::new(&store, requests, &LoaderConfig { cache_bytes, ..config(2, 2) }).unwrap();
    assert!(loader.by_ref().all(|batch| batch.is_ok()));
    // A block of the fold begins and ends inside chunks: neighbours in the store are read apart.
    let blocks_touched = fold.len() / 20 * 3;
    assert!(loader.stats().chunks_decoded <= blocks_touched as u64, "{:?}", loader.stats());
}

#[test]
fn the_loader_runs_no_further_ahead_than_its_depth() {
    let drawn = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&drawn);
    let requests = (0..100_u64).inspect(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let store = Arc::new(Memory::new(100, 10));
    let mut loader = Loader::new(&store, requests.map(|step| request(step, vec![step])), &config(4, 3)).unwrap();
    for taken in 1..=20 {
        loader.next().unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(2));
        assert!(drawn.load(Ordering::SeqCst) <= taken + 3);
    }
}

#[test]
fn a_bad_chunk_comes_out_in_its_turn_names_itself_and_ends_the_loader() {
    for (fault, said) in [(Fault::Corrupt, "checksum does not match"), (Fault::Short, "decoded to 9 rows")] {
        let store = Arc::new(Memory::new(100, 10).with_fault(5, fault));
        let requests: Vec<BatchRequest> = (0..10).map(|step| request(step, vec![step * 10, 3])).collect();
        let mut loader = Loader::new(&store, requests, &config(3, 4)).unwrap();
        for step in 0..5 {
            assert_eq!(loader.next().unwrap().unwrap().step, step);
        }
        let message = loader.next().unwrap().unwrap_err().to_string();
        assert!(message.contains("step 5: memory.zarr: chunk 5 (rows 50..60)") && message.contains(said), "{message}");
        assert!(loader.next().is_none());
    }
}

#[test]
fn a_panic_in_a_decoder_or_in_the_requests_is_an_error_not_a_hang() {
    let store = Arc::new(Memory::new(100, 10).with_fault(2, Fault::Panic));
    let requests: Vec<BatchRequest> = (0..10).map(|step| request(step, vec![25, step])).collect();
    let mut loader = Loader::new(&store, requests, &config(4, 4)).unwrap();
    let message = loader.next().unwrap().unwrap_err().to_string();
    assert!(message.contains("decoder bug"), "{message}");
    assert!(loader.next().is_none());

    let requests = (0..10).map(|step| if step == 2 { panic!("order bug") } else { request(step, vec![step]) });
    let outcomes: Vec<_> = Loader::new(&Arc::new(Memory::new(100, 10)), requests, &config(2, 2)).unwrap().collect();
    assert_eq!(outcomes.len(), 3);
    assert!(matches!(&outcomes[2], Err(LoaderError::Panicked { message, .. }) if message == "order bug"));
}

#[test]
fn a_store_that_does_not_answer_is_an_error_in_time() {
    let store = Arc::new(Memory::new(100, 10).with_fault(1, Fault::Hang));
    let config = LoaderConfig { timeout: Duration::from_millis(100), ..config(2, 2) };
    let began = std::time::Instant::now();
    let mut loader = Loader::new(&store, vec![request(0, vec![0]), request(1, vec![15])], &config).unwrap();
    assert!(loader.next().unwrap().is_ok());
    assert!(matches!(loader.next(), Some(Err(LoaderError::Stalled { batch: 1, .. }))));
    drop(loader);
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn dropping_the_loader_early_ends_its_threads() {
    let store = Arc::new(Memory { delay: Duration::from_millis(1), ..Memory::new(1000, 10) });
    for taken in [0, 1, 7] {
        let requests = (0..).map(|step| request(step, vec![step * 13 % 1000, step * 7 % 1000]));
        let mut loader = Loader::new(&store, requests, &config(4, 6)).unwrap();
        assert_eq!(loader.by_ref().take(taken).flatten().count(), taken);
    }
    assert_eq!(Arc::strong_count(&store), 1, "no thread holds the store any more");
}

#[test]
fn rows_the_store_lacks_and_unequal_partners_are_named() {
    let error = |request: BatchRequest| {
        let mut loader = Loader::new(&Arc::new(Memory::new(100, 10)), vec![request], &config(1, 1)).unwrap();
        loader.next().unwrap().unwrap_err().to_string()
    };
    assert!(error(request(4, vec![1, 100])).contains("row 100 asked for, but the store has 100 cells"));
    let unequal = BatchRequest { step: 4, rows: vec![1, 2], partners: vec![3] };
    assert!(error(unequal).contains("1 control partners for 2 rows"));
}

#[test]
fn zero_settings_are_named() {
    let store = Arc::new(Memory::new(10, 10));
    for (bad, name) in [(config(0, 1), "threads"), (config(1, 0), "depth")] {
        let error = Loader::new(&store, Vec::new(), &bad).err().unwrap();
        assert!(error.to_string().contains(name));
    }
}

#[test]
fn the_counts_say_what_was_decoded_and_what_was_at_hand() {
    let store = Arc::new(Memory::new(100, 10));
    let requests = vec![request(0, vec![0, 11]), request(1, vec![5, 12, 25])];
    let mut loader = Loader::new(&store, requests, &config(1, 1)).unwrap();
    assert_eq!(loader.by_ref().count(), 2);
    let stats = loader.stats();
    assert_eq!((stats.chunks_decoded, stats.cache_hits, stats.rows), (3, 2, 5));
    assert!(stats.bytes_decoded > 0);
}

#[test]
fn a_fault_that_passes_is_not_seen() {
    let store = Arc::new(Memory::new(100, 10).with_fault(5, Fault::Passing));
    let mut loader = Loader::new(&store, vec![request(0, vec![51, 3])], &config(1, 1)).unwrap();
    let batch = loader.next().unwrap().unwrap();
    assert_eq!((batch.rows.as_slice(), batch.cells.to_csr()), (&[51, 3][..], store.expected(&[51, 3])));
    assert_eq!((loader.stats().retries, loader.bad_chunks().len()), (1, 0));
}

#[test]
fn rows_of_a_bad_chunk_are_replaced_alike_whoever_finds_it_and_whenever() {
    let load = |threads, requests: Vec<BatchRequest>| {
        let store = Arc::new(Memory::new(100, 10).with_fault(5, Fault::Corrupt));
        let config = LoaderConfig { bad_share: 0.1, ..config(threads, 4) };
        let mut loader = Loader::new(&store, requests, &config).unwrap();
        let batches: Vec<LoadedBatch> = loader.by_ref().map(Result::unwrap).collect();
        for batch in &batches {
            assert_eq!(batch.cells.to_csr(), store.expected(&batch.rows));
            assert!(batch.rows.iter().all(|row| !(50..60).contains(row)));
        }
        let bad = loader.bad_chunks();
        assert_eq!(bad.iter().map(|bad| (bad.chunk, bad.first, bad.end)).collect::<Vec<_>>(), [(5, 50, 60)]);
        assert!(bad[0].reason.contains("checksum"));
        batches.into_iter().map(|batch| (batch.step, batch.rows)).collect::<Vec<_>>()
    };
    let requests: Vec<BatchRequest> = (0..20).map(|step| request(step, vec![step * 3, 50 + step % 10])).collect();
    let whole = load(1, requests.clone());
    assert_eq!(whole[7], (7, vec![21, 67]), "the row as far into the next chunk");
    assert_eq!(load(4, requests.clone()), whole);
    assert_eq!(load(2, requests[12..].to_vec()), whole[12..], "as after a restart");
}

#[test]
fn a_chunk_too_many_is_named() {
    let store = Arc::new(Memory::new(100, 10).with_fault(5, Fault::Corrupt));
    let config = LoaderConfig { bad_share: 0.09, ..config(1, 1) };
    let message = Loader::new(&store, vec![request(3, vec![55])], &config).unwrap().next().unwrap().unwrap_err();
    assert!(message.to_string().contains("chunk 5 (rows 50..60)"), "{message}");
    assert!(message.to_string().contains("1 chunks are bad, 0 are allowed"), "{message}");
}

#[test]
fn in_the_steady_state_no_buffer_is_made() {
    let store = Arc::new(Memory::new(2000, 10));
    let settings = OrderConfig { seed: 1, streams: 4, block_rows: 10, window_blocks: 2, batch: 16 };
    let order = Order::new(2000, settings.clone()).unwrap();
    let cache_bytes = LoaderConfig::cache_for(&settings, 1, 2000, &*store);
    let requests = (0..).map(move |step| request(step, order.batch(0, step)));
    let mut loader = Loader::new(&store, requests, &LoaderConfig { cache_bytes, ..config(2, 2) }).unwrap();
    assert_eq!(loader.by_ref().take(125).flatten().count(), 125);
    let after_an_epoch = loader.stats().buffers;
    assert_eq!(loader.by_ref().take(1000).flatten().count(), 1000);
    // Which thread gets how far is chance, so a few more may be wanted at once than ever before.
    assert!(loader.stats().buffers <= after_an_epoch + 8, "{} then {}", after_an_epoch, loader.stats().buffers);
}

#[test]
fn the_ranks_of_a_node_share_a_cache_and_damage_in_it_is_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let requests = || (0..20).map(|step| request(step, vec![step * 13 % 100, step * 7 % 100])).collect::<Vec<_>>();
    let load = |store: &Arc<CachedRows<Memory>>, plain: &Memory| {
        let loader = Loader::new(store, requests(), &LoaderConfig { cache_bytes: 0, ..config(2, 2) }).unwrap();
        for batch in loader.map(Result::unwrap) {
            assert_eq!(batch.cells.to_csr(), plain.expected(&batch.rows));
        }
    };
    let reads = |memory: &Memory| memory.reads.iter().map(|reads| reads.load(Ordering::SeqCst)).sum::<usize>();
    let first = Arc::new(Memory::new(100, 10));
    load(&Arc::new(CachedRows::open(&first, folder.path()).unwrap()), &first);
    assert!(reads(&first) >= 10, "chunks come from the store at first");
    // Another process: nothing is read from the store any more.
    let second = Arc::new(Memory::new(100, 10));
    let cached = Arc::new(CachedRows::open(&second, folder.path()).unwrap());
    load(&cached, &second);
    assert_eq!(reads(&second), 0);
    assert!(cached.hits() > 0);
    let files = std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let mut values = std::fs::read(files.join("values")).unwrap();
    values[5] ^= 1;
    std::fs::write(files.join("values"), values).unwrap();
    let third = Arc::new(Memory::new(100, 10));
    load(&Arc::new(CachedRows::open(&third, folder.path()).unwrap()), &third);
    assert!(reads(&third) > 0 && third.reads[1..].iter().all(|reads| reads.load(Ordering::SeqCst) == 0));
}
