use proptest::prelude::*;

use super::*;
use crate::actions::testing::{clearing, firing};

fn queue() -> Queue {
    Queue::new(Untried::default())
}

fn try_next(queue: &mut Queue) -> Option<Pending> {
    match queue.next(Instant::now(), 100, true) {
        Next::Try(pending) => Some(pending),
        Next::Wait(_) => None,
    }
}

fn tried(queue: &mut Queue) -> Pending {
    try_next(queue).expect("something to try")
}

#[tokio::test(start_paused = true)]
async fn of_one_alert_one_notice_is_under_way_and_others_pass() {
    let mut queue = queue();
    queue.push(firing("a"), false);
    queue.push(clearing("a"), true);
    queue.push(firing("b"), false);
    let first = tried(&mut queue);
    assert_eq!((first.notice.state, &*first.notice.fingerprint), (State::Firing, "a"));
    let second = tried(&mut queue);
    assert_eq!(second.notice.fingerprint, "b");
    assert!(try_next(&mut queue).is_none());
    queue.ended(first, Ended::Delivered);
    let third = tried(&mut queue);
    assert_eq!((third.notice.state, &*third.notice.fingerprint), (State::Inactive, "a"));
}

#[tokio::test(start_paused = true)]
async fn a_retry_holds_back_its_own_alert_alone() {
    let mut queue = queue();
    queue.push(firing("a"), false);
    queue.push(clearing("a"), true);
    let first = tried(&mut queue);
    let at = Instant::now() + Duration::from_secs(5);
    queue.ended(first, Ended::RetryAt(at));
    queue.push(firing("b"), false);
    assert_eq!(tried(&mut queue).notice.fingerprint, "b");
    assert!(matches!(queue.next(Instant::now(), 100, true), Next::Wait(Some(when)) if when == at));
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(tried(&mut queue).notice.state, State::Firing);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_problem_nobody_heard_of_is_withheld() {
    let mut queue = queue();
    queue.push(firing("a"), false);
    queue.push(clearing("a"), true);
    let first = tried(&mut queue);
    queue.ended(first, Ended::GivenUp);
    assert!(try_next(&mut queue).is_none());
    assert_eq!((queue.waiting(), queue.untried.withheld.get()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_changes_the_world_does_what_a_rule_names_even_after_a_failure() {
    let mut queue = queue();
    queue.push(firing("a"), false);
    queue.push(clearing("a"), false);
    let first = tried(&mut queue);
    queue.ended(first, Ended::GivenUp);
    let next = queue.next(Instant::now(), 1, false);
    assert!(matches!(next, Next::Try(pending) if pending.notice.state == State::Inactive));
}

#[tokio::test(start_paused = true)]
async fn an_alert_that_flaps_while_the_receiver_is_away_leaves_its_newest_state() {
    let mut queue = queue();
    for _ in 0..10 {
        queue.push(firing("a"), false);
        queue.push(clearing("a"), true);
    }
    queue.push(firing("a"), false);
    assert_eq!(queue.waiting(), NOTICES_PER_ALERT_MAX);
    let first = tried(&mut queue);
    assert_eq!(first.notice.state, State::Firing, "its end before it was dropped with it");
    queue.ended(first, Ended::Delivered);
    assert!(try_next(&mut queue).is_none());
    assert_eq!(queue.untried.superseded.get() + queue.untried.withheld.get(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_drops_what_began_and_ended_unheard_first() {
    let mut queue = queue();
    queue.push(firing("standing"), false);
    queue.push(firing("over"), false);
    queue.push(clearing("over"), true);
    for n in 0..NOTICES_WAITING_MAX - 3 {
        queue.push(firing(&n.to_string()), false);
    }
    assert_eq!((queue.waiting(), queue.untried.dropped.get()), (NOTICES_WAITING_MAX, 0));
    queue.push(firing("new"), false);
    assert_eq!(queue.untried.dropped.get(), 2);
    queue.push(firing("newer"), false);
    queue.push(firing("newest"), false);
    assert_eq!((queue.waiting(), queue.untried.dropped.get()), (NOTICES_WAITING_MAX, 3));
    assert_eq!(tried(&mut queue).notice.fingerprint, "0", "then what waited longest");
    assert!(!queue.alerts.contains_key("over"));
}

#[derive(Debug, Clone)]
enum Step {
    /// The alert fires, or clears if it has fired.
    Push {
        alert: u8,
    },
    Try,
    End {
        which: usize,
        how: u8,
    },
    Advance(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u8..4).prop_map(|alert| Step::Push { alert }),
        Just(Step::Try),
        (any::<usize>(), 0u8..3).prop_map(|(which, how)| Step::End { which, how }),
        (0u16..5_000).prop_map(Step::Advance),
    ]
}

proptest! {
    /// Against a model that knows only what was pushed and what was delivered.
    #[test]
    fn order_and_honesty_hold_whatever_happens(steps in prop::collection::vec(step(), 1..200)) {
        let mut queue = queue();
        let mut now = Instant::now();
        let mut fires: HashMap<u8, bool> = HashMap::new();
        let mut under_way: Vec<Pending> = Vec::new();
        let mut pushed: Vec<Arc<Notice>> = Vec::new();
        let place = |pushed: &[Arc<Notice>], one: &Arc<Notice>| {
            pushed.iter().position(|other| Arc::ptr_eq(other, one))
        };
        let mut latest: HashMap<String, Option<usize>> = HashMap::new();
        let mut heard: HashMap<String, bool> = HashMap::new();
        for step in steps {
            match step {
                Step::Push { alert } => {
                    let name = alert.to_string();
                    let fires = fires.entry(alert).or_insert(false);
                    *fires = !*fires;
                    pushed.push(if *fires { firing(&name) } else { clearing(&name) });
                    queue.push(pushed[pushed.len() - 1].clone(), !*fires);
                }
                Step::Try => {
                    if let Next::Try(pending) = queue.next(now, 2, true) {
                        let key = &pending.notice.fingerprint;
                        prop_assert!(under_way.iter().all(|p| p.notice.fingerprint != *key));
                        let at = place(&pushed, &pending.notice);
                        prop_assert!(at >= latest.get(key).copied().flatten(), "out of order");
                        latest.insert(key.clone(), at);
                        if pending.is_end() {
                            prop_assert_ne!(heard.get(key), Some(&false), "an end without its problem");
                        } else {
                            heard.entry(key.clone()).or_insert(false);
                        }
                        under_way.push(pending);
                        prop_assert!(under_way.len() <= 2);
                    }
                }
                Step::End { which, how } if !under_way.is_empty() => {
                    let pending = under_way.swap_remove(which % under_way.len());
                    let key = pending.notice.fingerprint.clone();
                    let ended = match how {
                        0 => Ended::Delivered,
                        1 => Ended::GivenUp,
                        _ => Ended::RetryAt(now + Duration::from_millis(500)),
                    };
                    match ended {
                        Ended::RetryAt(_) => {}
                        _ if pending.is_end() => drop(heard.remove(&key)),
                        Ended::Delivered => drop(heard.insert(key, true)),
                        Ended::GivenUp => {}
                    }
                    queue.ended(pending, ended);
                }
                Step::End { .. } => {}
                Step::Advance(millis) => now += Duration::from_millis(u64::from(millis)),
            }
            heard.retain(|key, _| queue.told.contains_key(key));
            let held: usize = queue.alerts.values().map(|alert| alert.waiting.len()).sum();
            prop_assert_eq!(queue.waiting(), held);
            prop_assert_eq!(queue.running(), under_way.len());
            prop_assert!(queue.alerts.values().all(|a| a.waiting.len() <= NOTICES_PER_ALERT_MAX));
        }
        // Nothing is stuck: whatever still waits can be tried once the others ended.
        for pending in under_way {
            queue.ended(pending, Ended::Delivered);
        }
        while let Next::Try(pending) = queue.next(now + RETRY_MAX, 2, true) {
            queue.ended(pending, Ended::Delivered);
        }
        prop_assert_eq!(queue.waiting(), 0);
        prop_assert!(queue.alerts.is_empty() && queue.ready.is_empty() && queue.retries.is_empty());
    }
}
