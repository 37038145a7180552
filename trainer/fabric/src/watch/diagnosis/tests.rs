use proptest::prelude::*;

use super::super::progress::{Phase, Progress};
use super::*;

const SILENCE: Duration = Duration::from_secs(5);

fn member(rank: usize, host: usize) -> Member {
    Member { rank, host: format!("n{host}") }
}

fn record() -> Record {
    Record {
        sequence: 1042,
        operation: Operation::AllReduce,
        label: "gradients bucket 2".into(),
        step: 17,
        phase: Phase::Backward,
        bytes: 1 << 20,
        queued_us: 0,
        started_us: Some(5),
        ended_us: None,
    }
}

/// A peer inside operation 1042.
fn inside(rank: usize, host: usize) -> Peer {
    let progress = Progress {
        step: 17,
        phase: Phase::Backward,
        entered: 1042,
        completed: 1041,
        operation: Some(Operation::AllReduce),
        standing: Standing::Running,
    };
    let heard = Heard { ago: Duration::from_millis(400), unchanged: Duration::from_secs(290), progress };
    Peer { member: member(rank, host), heard: Some(heard) }
}

fn changed(mut peer: Peer, change: impl FnOnce(&mut Heard)) -> Peer {
    if let Some(heard) = &mut peer.heard {
        change(heard);
    }
    peer
}

fn silent(peer: Peer) -> Peer {
    changed(peer, |heard| (heard.ago, heard.progress.entered) = (Duration::from_secs(12), 1041))
}

fn behind(peer: Peer) -> Peer {
    changed(peer, |heard| {
        heard.progress =
            Progress { phase: Phase::Data, entered: 1041, operation: Some(Operation::Barrier), ..heard.progress };
    })
}

fn sentence(peers: &[Peer]) -> String {
    let diagnosis = diagnose(&member(0, 1), &record(), Duration::from_mins(5), peers, SILENCE);
    let head =
        "all-reduce `gradients bucket 2` (operation 1042) of step 17 has been open for 300 s on rank 0 on host n1: ";
    diagnosis.sentence.strip_prefix(head).unwrap_or_else(|| panic!("{}", diagnosis.sentence)).to_owned()
}

#[test]
fn sentences_name_who_is_to_blame() {
    let cases = [
        (
            vec![inside(1, 1), silent(inside(3, 2))],
            "rank 3 on host n2 has not been heard from for 12 s (was in step 17, backward)",
        ),
        (
            vec![behind(inside(1, 1)), inside(3, 2)],
            "rank 1 on host n1 is alive but has not entered it (is in step 17, waiting for data, for 290 s)",
        ),
        (
            vec![changed(inside(1, 1), |heard| heard.progress.entered -= 1), inside(2, 2)]
                .into_iter()
                .map(|peer| changed(peer, |heard| heard.progress.completed = 1040))
                .collect(),
            "rank 1 on host n1 is alive but has not entered it (is in step 17, backward, inside all-reduce, operation \
             1041, for 290 s)",
        ),
        (
            vec![changed(inside(1, 2), |heard| heard.progress.operation = Some(Operation::Broadcast))],
            "rank 1 on host n2 is in broadcast instead, so the ranks have run apart (in step 17, backward)",
        ),
        (
            vec![changed(inside(1, 2), |heard| heard.progress.standing = Standing::Ended), inside(2, 2)],
            "rank 1 on host n2 left the run without completing it (was in step 17, backward)",
        ),
        (
            vec![inside(1, 2), inside(2, 1)],
            "all ranks are alive and inside the operation: the data network between hosts n1, n2 may be down",
        ),
        (
            vec![inside(1, 1), changed(inside(2, 1), |heard| heard.progress.completed = 1042)],
            "all ranks are alive and inside or past the operation: shared memory or a device of host n1 may be stuck",
        ),
        (vec![], "there are no other ranks, so a device or its driver may be stuck"),
        (
            vec![Peer { heard: None, ..inside(1, 2) }, Peer { heard: None, ..inside(2, 2) }],
            "no rank can be named; no heartbeat ever came from ranks 1 and 2 on host n2 (UDP may be blocked)",
        ),
    ];
    for (peers, expected) in cases {
        assert_eq!(sentence(&peers), expected);
    }
}

#[test]
fn ranks_of_a_host_share_a_clause_and_a_host_cut_off_is_suspected() {
    let peers: Vec<_> = (1..16).map(|rank| inside(rank, rank / 8)).collect();
    let down: Vec<_> =
        peers.iter().map(|peer| if peer.member.host == "n1" { silent(peer.clone()) } else { peer.clone() }).collect();
    let clause = "ranks 8, 9, 10, 11, 12, 13, 14 and 15 on host n1 have not been heard from for 12 s (were in step 17, backward)";
    let own = member(0, 0);
    assert!(diagnose(&own, &record(), SILENCE, &down, SILENCE).sentence.ends_with(&format!(": {clause}")));
    let cut_off: Vec<_> = (1..4).map(|rank| inside(rank, rank)).map(silent).collect();
    let text = diagnose(&own, &record(), SILENCE, &cut_off, SILENCE).sentence;
    assert!(text.ends_with("; no other host is heard, so the network of host n0 itself may be down"), "{text}");
}

#[test]
fn an_operation_that_the_own_thread_never_entered_is_its_own_fault() {
    let queued = Record { started_us: None, ..record() };
    let diagnosis = diagnose(&member(0, 1), &queued, Duration::from_mins(5), &[behind(inside(1, 2))], SILENCE);
    let causes: Vec<_> = diagnosis.culprits.iter().map(|culprit| (culprit.member.rank, &culprit.cause)).collect();
    assert_eq!(causes, [(0, &Cause::NotStarted), (1, &Cause::Behind)]);
    assert!(
        diagnosis
            .sentence
            .contains("rank 0 on host n1 has queued it, but its communication thread has not entered it; ")
    );
}

#[test]
fn of_ranks_behind_the_one_that_stopped_earliest_comes_first() {
    let entered = |rank, entered| {
        changed(inside(rank, 2), |heard| {
            (heard.progress.entered, heard.progress.completed) = (entered, entered);
        })
    };
    let peers = [entered(1, 1041), entered(2, 1000), entered(3, 1041)];
    let diagnosis = diagnose(&member(0, 1), &record(), SILENCE, &peers, SILENCE);
    assert_eq!(diagnosis.culprits.iter().map(|culprit| culprit.member.rank).collect::<Vec<_>>(), [2, 1, 3]);
}

fn peers() -> impl Strategy<Value = Vec<Peer>> {
    let progress = (0..Phase::ALL.len(), 1040_u64..1044, 0_u64..3, 0..Operation::ALL.len(), 0..Standing::ALL.len())
        .prop_map(|(phase, entered, open, operation, standing)| Progress {
            step: 17,
            phase: Phase::ALL[phase],
            entered,
            completed: entered - open,
            operation: Some(Operation::ALL[operation]),
            standing: Standing::ALL[standing],
        });
    let heard = (0_u64..10, 0_u64..100, progress).prop_map(|(ago, unchanged, progress)| Heard {
        ago: Duration::from_secs(ago),
        unchanged: Duration::from_secs(unchanged),
        progress,
    });
    prop::collection::vec((prop::option::of(heard), 0_usize..4), 0..20).prop_map(|rows| {
        let peer = |(rank, (heard, host))| Peer { member: member(rank, host), heard };
        // Numbers that nothing else in a sentence has.
        (2000..).zip(rows).map(peer).collect()
    })
}

proptest! {
    /// Rules that hold for any table, told rank by rank.
    #[test]
    fn ranks_are_blamed_for_what_they_said_or_stopped_saying(peers in peers()) {
        let diagnosis = diagnose(&member(0, 0), &record(), Duration::from_mins(5), &peers, SILENCE);
        for peer in &peers {
            let cause = diagnosis.culprits.iter().find(|c| c.member == peer.member).map(|culprit| &culprit.cause);
            let Some(Heard { ago, progress, .. }) = &peer.heard else {
                prop_assert_eq!(cause, None);
                continue;
            };
            let running = progress.standing == Standing::Running;
            prop_assert_eq!(cause == Some(&Cause::Silent), running && *ago >= SILENCE);
            let alive = running && *ago < SILENCE;
            prop_assert_eq!(cause == Some(&Cause::Behind), alive && progress.entered <= 1041);
            let other = progress.operation != Some(Operation::AllReduce);
            prop_assert_eq!(matches!(cause, Some(Cause::Apart(_))), alive && progress.entered == 1042 && other);
            let left = progress.standing == Standing::Ended && progress.completed < 1042;
            prop_assert_eq!(cause == Some(&Cause::Ended), left);
            if progress.standing == Standing::GivenUp {
                prop_assert_eq!(cause, None);
            }
        }
        prop_assert!(diagnosis.sentence.contains("`gradients bucket 2` (operation 1042)"));
        prop_assert!(!diagnosis.sentence.contains(char::is_control));
    }

    #[test]
    fn the_order_of_peers_changes_nothing(peers in peers(), turn in 0_usize..20) {
        let mut turned = peers.clone();
        turned.rotate_left(turn % peers.len().max(1));
        let told = |peers: &[Peer]| diagnose(&member(0, 0), &record(), SILENCE, peers, SILENCE);
        prop_assert_eq!(told(&peers).culprits, told(&turned).culprits);
        prop_assert_eq!(told(&peers).sentence, told(&turned).sentence);
    }

    #[test]
    fn the_first_culprit_is_named_and_none_is_lost_from_the_count(peers in peers()) {
        let Diagnosis { culprits, sentence, .. } = diagnose(&member(0, 0), &record(), SILENCE, &peers, SILENCE);
        if let Some(Culprit { member, .. }) = culprits.first() {
            let (one, several) = (format!(": rank {} on", member.rank), format!(": ranks {}", member.rank));
            prop_assert!(sentence.contains(&one) || sentence.contains(&several), "{}", sentence);
        }
        let words: Vec<_> = sentence.split([' ', ',', ';']).filter(|word| !word.is_empty()).collect();
        let counted: usize = words
            .windows(3)
            .filter(|words| words[1] == "more" || words[2] == "besides")
            .map(|words| words[0].parse::<usize>().unwrap())
            .sum();
        let unnamed = culprits.iter().filter(|culprit| !words.contains(&&*culprit.member.rank.to_string())).count();
        prop_assert_eq!(unnamed, counted, "{}", sentence);
    }
}
