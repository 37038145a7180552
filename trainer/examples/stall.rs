use std::path::Path;
use syncyte_trainer::{
    bench::checkpoint::{CheckpointBench, measure},
    collective::{Solo, Threads},
    config::Config,
    environment,
};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let n: usize = args[1].parse().unwrap();
    let config =
        Config::load(Path::new("configs/bench_e1.toml"), &["data.store=none".into(), "data.split=none".into()])
            .unwrap();
    environment::set_threads(args[3].parse().unwrap());
    let bench = CheckpointBench { genes: 5000, targets: 231, count: 7 };
    let folder = Path::new(&args[2]);
    if n == 1 {
        println!("{:?}", measure(&config, &bench, folder, &Solo).unwrap());
        return;
    }
    let world = Threads::world(n, n).unwrap();
    std::thread::scope(|s| {
        for r in world {
            let (config, bench) = (&config, &bench);
            s.spawn(move || {
                use syncyte_trainer::collective::Collective;
                let rep = measure(config, bench, folder, &r).unwrap();
                if r.rank() == 0 {
                    println!("{rep:?}");
                }
            });
        }
    });
}
