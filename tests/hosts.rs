//! Several hosts compute what one computes, and a host that is lost does not keep the others.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;
use syncyte_tests::{Cluster, Lab, losses, metrics, turn};

use crate::parallelism::assert_close;

const DETERMINISTIC: &str = "engine.deterministic=true";

/// A lab, and hosts to be dropped before it, where there can be any.
fn lab_on(hosts: usize, what: &str) -> Option<(Lab, Cluster)> {
    let cluster = Cluster::new(hosts, what)?;
    Some((Lab::new(), cluster))
}

/// Trains on the cluster and gives the answer of the run, which the first host wrote.
fn train(cluster: &Cluster, lab: &Lab, placement: &[usize], name: &str, settings: &[&str]) -> Value {
    let answer = cluster.train(lab, placement, "pretrain", name, settings).json();
    let environment = fs::read_to_string(lab.path(name).join("environment.json")).unwrap();
    let environment: Value = serde_json::from_str(&environment).unwrap();
    assert_eq!(environment["host"], cluster.name(0));
    assert_eq!(environment["ranks"], placement.iter().sum::<usize>());
    answer
}

#[test]
fn a_deterministic_run_has_the_same_parameters_on_one_two_and_four_hosts() {
    let name = "a_deterministic_run_has_the_same_parameters_on_one_two_and_four_hosts";
    let _turn = turn(name);
    let Some((lab, cluster)) = lab_on(4, name) else { return };
    let settings = [DETERMINISTIC, "engine.steps=20"];
    let one = train(&cluster, &lab, &[4], "one", &settings);
    assert!(one["parameter_hash"].as_str().is_some_and(|hash| hash.len() == 64), "{one}");
    for (placement, name) in [(&[2, 2][..], "two"), (&[1; 4], "four")] {
        let several = train(&cluster, &lab, placement, name, &settings);
        assert_eq!(several["parameter_hash"], one["parameter_hash"], "{name} hosts");
        assert_eq!(losses(&lab.path(name), 20), losses(&lab.path("one"), 20), "{name} hosts");
    }
}

#[test]
fn losses_are_the_same_on_one_and_two_hosts_and_with_divided_moments() {
    let name = "losses_are_the_same_on_one_and_two_hosts_and_with_divided_moments";
    let _turn = turn(name);
    let Some((lab, cluster)) = lab_on(2, name) else { return };
    let steps = "engine.steps=20";
    train(&cluster, &lab, &[4], "one", &[steps]);
    train(&cluster, &lab, &[2, 2], "two", &[steps]);
    train(&cluster, &lab, &[2, 2], "divided", &[steps, "engine.sharding=optimizer"]);
    let [one, two, divided] = ["one", "two", "divided"].map(|name| losses(&lab.path(name), 20));
    println!("one host     {one:?}\ntwo hosts    {two:?}\ndivided      {divided:?}");
    assert_close(&one, &two, "one and two hosts");
    for (step, (one, divided)) in one.iter().zip(&divided).enumerate() {
        assert!((one - divided).abs() <= 1e-6 * one.abs(), "step {}: {one} and, divided, {divided}", step + 1);
    }
}

/// Longer than a rank may be silent before the others say that it is.
const TIMEOUT: Duration = Duration::from_secs(6);
const STEPS: u64 = 200;

/// Whether a message blames both ranks of the host.
fn names_ranks(message: &str, [first, second]: [usize; 2], host: &str) -> bool {
    let each = [first, second]
        .iter()
        .all(|rank| message.contains(&format!("rank {rank} on host {host} has not been heard from")));
    each || message.contains(&format!("ranks {first} and {second} on host {host} have not been heard from"))
}

#[test]
fn a_host_that_is_cut_off_ends_the_run_by_name_and_the_other_host_goes_on_from_the_checkpoint() {
    let name = "a_host_that_is_cut_off_ends_the_run_by_name_and_the_other_host_goes_on_from_the_checkpoint";
    let _turn = turn(name);
    let Some((lab, cluster)) = lab_on(2, name) else { return };
    let timeout = format!("engine.timeout_s={}", TIMEOUT.as_secs());
    let settings = [DETERMINISTIC, "engine.steps=200", "checkpoint.every=100", timeout.as_str()];
    let whole = train(&cluster, &lab, &[2, 2], "whole", &settings);

    let mut running = cluster.start(&lab, &[2, 2], "pretrain", "broken", &settings);
    // Past a checkpoint, where ranks have more patience with each other, and well before the next.
    while metrics(&lab.path("broken")).len() < 105 {
        assert!(running.is_running(), "the run ended early: {:?}", running.wait(TIMEOUT));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!([0, 1].map(|host| cluster.ranks(host).into_iter().collect::<Vec<_>>()), [[0, 1], [2, 3]]);
    cluster.cut_off(1);
    let cut = Instant::now();
    while !(cluster.ranks(0).is_empty() && cluster.ranks(1).is_empty()) {
        assert!(cut.elapsed() < 2 * TIMEOUT, "ranks that still run: {:?}", [cluster.ranks(0), cluster.ranks(1)]);
        std::thread::sleep(Duration::from_millis(20));
    }
    let outcome = running.wait(Duration::from_mins(1));
    outcome.assert_code(4);
    let messages: Vec<_> = outcome.stderr.lines().filter(|line| line.starts_with("error: rank")).collect();
    assert!(!messages.is_empty(), "{}", outcome.stderr);
    for message in messages {
        assert!(names_ranks(message, [2, 3], cluster.name(1)), "{message}");
    }
    // The lost host could tell nobody, but it wrote down what it saw.
    let lost = [2, 3].map(|rank| lab.path("broken").join(format!("flight-rank-{rank}.json")));
    let seen = lost.iter().filter_map(|path| fs::read_to_string(path).ok());
    let reasons: Vec<Value> = seen.map(|text| serde_json::from_str(&text).unwrap()).collect();
    assert!(!reasons.is_empty(), "neither rank of the lost host wrote what it waited for");
    for record in reasons {
        assert!(names_ranks(record["reason"].as_str().unwrap(), [0, 1], cluster.name(0)), "{}", record["reason"]);
    }
    while let Some(left) = [0, 1].into_iter().flat_map(|host| cluster.processes(host)).next() {
        assert!(cut.elapsed() < Duration::from_mins(1), "{left:?} is left");
        std::thread::sleep(Duration::from_millis(20));
    }

    let resumed = cluster.train(&lab, &[2], "pretrain --resume", "broken", &settings);
    assert!(resumed.stderr.contains("resuming after step 100"), "{}", resumed.stderr);
    assert_eq!(resumed.json()["parameter_hash"], whole["parameter_hash"]);
    assert_eq!(losses(&lab.path("broken"), STEPS), losses(&lab.path("whole"), STEPS));
}
