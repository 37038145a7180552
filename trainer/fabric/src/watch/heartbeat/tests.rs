use std::convert::Infallible;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Barrier, mpsc};

use proptest::prelude::*;

use super::super::diagnosis::{Cause, Diagnosis, diagnose};
use super::super::progress::{Operation, Phase};
use super::super::watchdog::{Limits, Watchdog};
use super::*;

const INTERVAL: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until the condition holds.
fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn member(rank: usize) -> Member {
    Member { rank, host: format!("n{}", rank + 1) }
}

/// One rank of a run inside this process.
struct Rank {
    recorder: Arc<Recorder>,
    heartbeat: Arc<Heartbeat>,
}

impl Rank {
    fn heard(&self, rank: usize) -> Option<Heard> {
        self.heartbeat.peers().into_iter().find(|peer| peer.member.rank == rank)?.heard
    }

    fn hears_all(&self) -> bool {
        self.heartbeat.peers().iter().all(|peer| peer.heard.is_some())
    }

    fn address(&self) -> (Ipv4Addr, u16) {
        (Ipv4Addr::LOCALHOST, self.heartbeat.shared.ranks[self.heartbeat.own.rank].port)
    }

    /// What this rank would say of its oldest open operation.
    fn diagnosis(&self) -> Diagnosis {
        let record = self.recorder.oldest_open().unwrap();
        let peers = self.heartbeat.peers();
        diagnose(self.heartbeat.own(), &record, Duration::from_mins(5), &peers, self.heartbeat.silence())
    }
}

/// Starts `world` ranks, the texts of `more` ranks after them; each reads what `told` makes of a rank's text.
fn run(world: usize, more: &[String], told: impl Fn(usize, &str) -> String + Sync) -> Vec<Rank> {
    let (slots, barrier) = (Mutex::new([vec![String::new(); world], more.to_vec()].concat()), Barrier::new(world));
    let start = |rank: usize| {
        let recorder = Arc::new(Recorder::default());
        let exchange = |text: &str| {
            slots.lock().unwrap()[rank] = told(rank, text);
            barrier.wait();
            Ok::<_, Infallible>(slots.lock().unwrap().clone())
        };
        let heartbeat = Heartbeat::start(member(rank), INTERVAL, Arc::clone(&recorder), exchange).unwrap();
        Rank { recorder, heartbeat: Arc::new(heartbeat) }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..world).map(|rank| scope.spawn(move || start(rank))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn plain(world: usize) -> Vec<Rank> {
    run(world, &[], |_, text| text.to_owned())
}

#[test]
fn every_rank_hears_where_every_other_one_is() {
    let ranks = plain(4);
    for (rank, state) in ranks.iter().enumerate() {
        state.recorder.at(rank as u64, Phase::Optimizer);
        drop(state.recorder.enter(Operation::AllGather, "moments", 8));
    }
    for state in &ranks {
        let members: Vec<_> = state.heartbeat.peers().into_iter().map(|peer| peer.member).collect();
        let others: Vec<_> = (0..4).filter(|&rank| rank != state.heartbeat.own.rank).map(member).collect();
        assert_eq!(members, others);
        for Member { rank, .. } in others {
            let (step, phase, operation) = (rank as u64, Phase::Optimizer, Some(Operation::AllGather));
            let expected = Progress { step, phase, entered: 1, completed: 1, operation, standing: Standing::Running };
            wait("heard in its place", || state.heard(rank).is_some_and(|heard| heard.progress == expected));
        }
    }
}

#[test]
fn a_rank_that_falls_silent_is_named_and_its_last_place_told() {
    // A rank that a test can silence without a farewell, as a killed process is.
    let socket = Socket::bind().unwrap();
    let advertisement = Advertisement::new("n3", Some(&socket));
    let ranks = run(2, &[serde_json::to_string(&advertisement).unwrap()], |_, text| text.to_owned());
    let progress = Progress { step: 17, phase: Phase::Backward, ..Progress::default() };
    let mut serial = 0;
    let mut speak = || {
        serial += 1;
        let packet = Packet { rank: 2, serial, progress }.encode(ranks[0].heartbeat.shared.token);
        for rank in &ranks {
            socket.send(&packet, rank.address().into()).unwrap();
        }
    };
    for Rank { recorder, .. } in &ranks {
        recorder.start(recorder.begin(Operation::AllReduce, "gradients", 8));
    }
    wait("nobody is to blame but rank 2, which is behind", || {
        speak();
        let causes =
            |rank: &Rank| rank.diagnosis().culprits.into_iter().map(|culprit| (culprit.member.rank, culprit.cause));
        ranks.iter().all(|rank| causes(rank).eq([(2, Cause::Behind)]))
    });
    wait("rank 2 is silent", || ranks.iter().all(|rank| rank.diagnosis().culprits[0].cause == Cause::Silent));
    for rank in &ranks {
        let sentence = rank.diagnosis().sentence;
        assert!(sentence.contains("rank 2 on host n3 has not been heard from for "), "{sentence}");
        assert!(sentence.ends_with("(was in step 17, backward)"), "{sentence}");
    }
}

#[test]
fn a_rank_that_leaves_says_so() {
    let mut ranks = plain(3);
    ranks[2].recorder.at(5, Phase::Checkpoint);
    ranks[0].recorder.start(ranks[0].recorder.begin(Operation::Barrier, "end", 0));
    drop(ranks.remove(2));
    for rank in &ranks {
        wait("rank 2 left", || rank.heard(2).is_some_and(|heard| heard.progress.standing == Standing::Ended));
    }
    let diagnosis = ranks[0].diagnosis();
    assert!(diagnosis.culprits.iter().any(|culprit| (culprit.member.rank, &culprit.cause) == (2, &Cause::Ended)));
    assert!(diagnosis.sentence.contains("rank 2 on host n3 left the run without completing it"));
}

#[test]
fn the_watchdog_names_the_rank_that_waits_for_data_and_the_others_hear_that_it_gave_up() {
    let ranks = plain(3);
    wait("all heard", || ranks.iter().all(Rank::hears_all));
    for rank in &ranks[..2] {
        rank.recorder.at(17, Phase::Backward);
        rank.recorder.start(rank.recorder.begin(Operation::AllReduce, "gradients bucket 2", 1 << 20));
    }
    ranks[2].recorder.at(17, Phase::Data);
    wait("all heard inside", || [0, 1].iter().all(|&rank| ranks[2].heard(rank).unwrap().progress.entered == 1));
    let limits = Limits { long: Duration::from_millis(400), short: Duration::from_millis(400), first: 0 };
    let (send, receive) = mpsc::channel();
    let (recorder, heartbeat) = (Arc::clone(&ranks[0].recorder), Arc::clone(&ranks[0].heartbeat));
    let _watchdog = Watchdog::start(limits, recorder, heartbeat, move |diagnosis| send.send(diagnosis).unwrap());
    let diagnosis = receive.recv_timeout(PATIENCE).unwrap();
    // On a machine that is busy elsewhere rank 1 may be late, so it is not excluded here.
    assert!(diagnosis.culprits.iter().any(|culprit| culprit.member == member(2)), "{}", diagnosis.sentence);
    assert!(diagnosis.sentence.contains("step 17, waiting for data"), "{}", diagnosis.sentence);
    for rank in &ranks[1..] {
        wait("rank 0 gave up", || rank.heard(0).unwrap().progress.standing == Standing::GivenUp);
    }
}

#[test]
fn foreign_and_damaged_packets_change_nothing_and_addresses_that_fail_are_left() {
    // Reserved addresses, to which there is no route.
    let told = |_, text: &str| {
        let mut advertisement: Advertisement = serde_json::from_str(text).unwrap();
        advertisement.host = "same".into();
        advertisement.addresses = vec!["240.0.0.1".parse().unwrap(), "100::1".parse().unwrap()];
        serde_json::to_string(&advertisement).unwrap()
    };
    let ranks = run(2, &[], told);
    wait("all heard", || ranks.iter().all(Rank::hears_all));
    let token = ranks[0].heartbeat.shared.token;
    let packet = |rank: u32| Packet { rank, serial: u64::MAX, progress: Progress { step: 99, ..Progress::default() } };
    let foreign = [
        packet(1).encode(token ^ 1).to_vec(),
        packet(0).encode(token).to_vec(),
        packet(2).encode(token).to_vec(),
        packet(1).encode(token)[..LEN - 1].to_vec(),
        [&packet(1).encode(token)[..], &[0]].concat(),
        b"GET / HTTP/1.1\r\n".to_vec(),
        Vec::new(),
    ];
    let sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    for bytes in &foreign {
        sender.send_to(bytes, ranks[0].address()).unwrap();
    }
    // What was sent before is read before.
    ranks[1].recorder.at(7, Phase::Forward);
    wait("the true packet", || ranks[0].heard(1).unwrap().progress.step != 0);
    assert_eq!(ranks[0].heard(1).unwrap().progress.step, 7);
}

#[test]
fn a_rank_without_a_readable_text_is_listed_and_never_heard() {
    let ranks = run(2, &["damaged".into()], |_, text| text.to_owned());
    wait("rank 1 heard", || ranks[0].heard(1).is_some());
    assert_eq!(ranks[0].heartbeat.peers().len(), 2);
    assert_eq!(ranks[0].heard(2), None);
}

#[test]
fn an_exchange_that_fails_is_the_error() {
    let start = Heartbeat::start(member(0), INTERVAL, Arc::default(), |_| Err("broken"));
    assert_eq!(start.unwrap_err(), "broken");
}

proptest! {
    /// A table that is fed packets in any order, against the packet of the largest number.
    #[test]
    fn the_newest_packet_counts_in_whatever_order_they_come(steps in prop::collection::vec(any::<u64>(), 1..8), order: u64) {
        let texts = [Advertisement::new("n1", None), Advertisement::new("n2", None)];
        let texts = texts.iter().map(|text| serde_json::to_string(text).unwrap()).collect();
        let heartbeat =
            Heartbeat::start(member(0), INTERVAL, Arc::default(), |_| Ok::<_, Infallible>(texts)).unwrap();
        let mut packets: Vec<_> = (0..).zip(&steps).map(|(serial, &step)| {
            Packet { rank: 1, serial, progress: Progress { step, ..Progress::default() } }
        }).collect();
        packets.sort_by_key(|packet| (packet.serial + 1).wrapping_mul(order | 1));
        for packet in packets {
            heartbeat.shared.hear(&packet.encode(heartbeat.shared.token));
        }
        prop_assert_eq!(heartbeat.peers()[0].heard.as_ref().map(|heard| heard.progress.step), steps.last().copied());
    }
}
