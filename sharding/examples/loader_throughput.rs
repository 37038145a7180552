//! Measures the loader on a store: cells per second in training order, with and without control partners.
//!
//! `cargo run --release -p syncyte-sharding --example loader_throughput -- STORE.zarr [BATCH] [THREADS]`

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use syncyte_sharding::loader::{BatchRequest, Loader, LoaderConfig};
use syncyte_sharding::order::{Order, OrderConfig};
use syncyte_sharding::pairing::Pairing;
use syncyte_sharding::split::{Fold, Scheme, Split, SplitOptions};
use syncyte_sharding::store::CellStore;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: loader_throughput STORE.zarr [BATCH] [THREADS]")?;
    let batch = arguments.next().map_or(Ok(512), |text| text.parse())?;
    let threads = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let store = Arc::new(CellStore::open(Path::new(&path))?);
    println!("{} cells × {} genes, {} values", store.n_cells(), store.n_genes(), store.nnz());
    for paired in [false, true] {
        measure(&store, batch, threads, paired)?;
    }
    Ok(())
}

fn measure(store: &Arc<CellStore>, batch: usize, threads: usize, paired: bool) -> Result<(), Box<dyn Error>> {
    let split = Split::make(store.labels(), store.data_hash(), &SplitOptions::new(Scheme::Cells))?;
    let rows = split.rows(Fold::Train);
    let settings = OrderConfig { seed: 1, streams: 64, block_rows: store.chunk_rows(), window_blocks: 4, batch };
    let order = Order::new(rows.len(), settings.clone())?;
    let pairing = Pairing::new(store.labels(), &rows, 1)?;
    let hold = rows.iter().copied().filter(|&row| paired && store.labels().is_control(row as usize)).collect();
    let cache_bytes = LoaderConfig::cache_for(&settings, 1, rows.len(), &**store);
    let config = LoaderConfig { threads, cache_bytes, hold, ..LoaderConfig::default() };
    for epoch in 0..2 {
        let requests: Result<Vec<BatchRequest>, _> = (0..order.steps_per_epoch())
            .map(|step| {
                let cells: Vec<u64> = order.batch(epoch, step).iter().map(|&at| rows[at as usize]).collect();
                let partners = if paired { pairing.partners(epoch, &cells)? } else { Vec::new() };
                Ok::<_, Box<dyn Error>>(BatchRequest { step, rows: cells, partners })
            })
            .collect();
        let began = Instant::now();
        let mut loader = Loader::new(store, requests?, &config)?;
        let mut cells = 0;
        for loaded in loader.by_ref() {
            cells += loaded?.cells.n_rows();
        }
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "epoch {epoch}, partners {paired}: {:.0} cells/s, {cells} cells in {seconds:.2} s, cache {cache_bytes} B, {:?}",
            cells as f64 / seconds,
            loader.stats()
        );
    }
    Ok(())
}
