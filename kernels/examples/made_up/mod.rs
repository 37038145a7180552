//! Rows of counts for measurements: 2,640 counts in 8,248 genes.

/// Number of rows.
pub(crate) const ROWS: usize = 8192;
/// Number of genes.
pub(crate) const GENES: usize = 8248;
/// Counts per row.
pub(crate) const NON_ZERO: usize = 2640;

/// A small generator (xorshift): the figures need no better one.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// `chosen` of the numbers below `all`, in order.
    pub(crate) fn choose(&mut self, chosen: usize, all: usize) -> Vec<usize> {
        let mut left = chosen;
        (0..all)
            .filter(|at| {
                let take = self.next() % ((all - at) as u64) < left as u64;
                left -= usize::from(take);
                take
            })
            .collect()
    }

    /// A count from 1; one in a hundred is ten times as large.
    fn count(&mut self) -> u8 {
        let uniform = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let count = 1.0 - uniform.max(1e-9).ln() * 1.5;
        (if self.next().is_multiple_of(100) { count * 10.0 } else { count }) as u8
    }
}

/// The rows, with the total of each.
pub(crate) struct Cells {
    pub(crate) indptr: Vec<usize>,
    pub(crate) columns: Vec<u16>,
    pub(crate) counts: Vec<u8>,
    pub(crate) totals: Vec<f32>,
}

/// The same rows in every run.
pub(crate) fn cells(random: &mut Random) -> Cells {
    let mut cells = Cells { indptr: vec![0], columns: Vec::new(), counts: Vec::new(), totals: Vec::new() };
    for _ in 0..ROWS {
        cells.columns.extend(random.choose(NON_ZERO, GENES).iter().map(|&gene| gene as u16));
        let counts: Vec<u8> = (0..NON_ZERO).map(|_| random.count()).collect();
        cells.totals.push(counts.iter().map(|&count| f32::from(count)).sum());
        cells.counts.extend(counts);
        cells.indptr.push(cells.counts.len());
    }
    cells
}

/// Ends the program for a reason that its caller can mend.
pub(crate) fn leave(reason: &str) -> ! {
    eprintln!("{reason}");
    std::process::exit(2)
}
