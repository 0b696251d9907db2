use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::actions::Action;
use crate::actions::queue::{RETRY_MAX, RETRY_MIN};
use crate::actions::testing::{clearing, firing};
use crate::rules::State;
use crate::sample::{Clock, Timestamp};

/// Does what a function says, and remembers what it was asked.
struct Scripted<F> {
    script: F,
    tries: Arc<Mutex<Vec<(Duration, String, State)>>>,
    at_once: AtomicUsize,
    at_once_most: Arc<AtomicUsize>,
    started: Instant,
}

impl<F, R> Action for Scripted<F>
where
    F: Fn(&Notice, usize) -> R + Send + Sync + 'static,
    R: Future<Output = Result<String, Rejected>> + Send,
{
    async fn fire(&self, notice: &Notice) -> Result<String, Rejected> {
        let nth = {
            let mut tries = self.tries.lock().unwrap();
            tries.push((self.started.elapsed(), notice.fingerprint.clone(), notice.state));
            tries.iter().filter(|(_, key, _)| *key == notice.fingerprint).count()
        };
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.at_once_most.fetch_max(now, Ordering::SeqCst);
        let result = (self.script)(notice, nth).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        result
    }
}

/// An action under test, its task, and what it was asked.
struct Bench {
    line: Arc<LineState>,
    metrics: Metrics,
    tries: Arc<Mutex<Vec<(Duration, String, State)>>>,
    at_once_most: Arc<AtomicUsize>,
    retired: CancellationToken,
    closing: CancellationToken,
    tasks: JoinSet<()>,
}

const LIMIT: Duration = Duration::from_secs(10);

fn bench<F, R>(retries: u32, concurrency: usize, script: F) -> Bench
where
    F: Fn(&Notice, usize) -> R + Send + Sync + 'static,
    R: Future<Output = Result<String, Rejected>> + Send + 'static,
{
    let metrics = Metrics::default();
    let line = Arc::new(LineState::new("a".into(), &metrics, Arc::default()));
    let mut bench = Bench {
        line: line.clone(),
        metrics,
        tries: Arc::default(),
        at_once_most: Arc::default(),
        retired: CancellationToken::new(),
        closing: CancellationToken::new(),
        tasks: JoinSet::new(),
    };
    let runner = Runner {
        action: Arc::new(Scripted {
            script,
            tries: bench.tries.clone(),
            at_once: AtomicUsize::new(0),
            at_once_most: bench.at_once_most.clone(),
            started: Instant::now(),
        }),
        limit: LIMIT,
        retries,
        concurrency,
        tells_people: true,
        line,
        shared: Arc::new(Shared::new(Arc::new(Clock::starting_at(Timestamp::from_secs(0))))),
    };
    bench.tasks.spawn(runner.run(bench.retired.clone(), bench.closing.clone()));
    bench
}

impl Bench {
    /// Waits, on the paused clock, until all is done.
    async fn finish(&mut self) {
        self.closing.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }

    fn tried(&self) -> Vec<(String, State)> {
        self.tries.lock().unwrap().iter().map(|(_, key, state)| (key.clone(), *state)).collect()
    }

    fn result(&self, result: &str) -> u64 {
        let page = self.metrics.render();
        let start = format!("watchpost_action_results_total{{action=\"a\",result=\"{result}\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&start)).unwrap();
        line.parse().unwrap()
    }
}

async fn done() -> Result<String, Rejected> {
    Ok("done".into())
}

#[tokio::test(start_paused = true)]
async fn a_failed_try_is_repeated_after_the_backoff() {
    let mut bench = bench(3, 1, |_, nth| async move {
        if nth <= 3 { Err(Rejected::temporary("no")) } else { Ok("done".into()) }
    });
    bench.line.push(firing("x"), false);
    bench.finish().await;
    let at: Vec<_> = bench.tries.lock().unwrap().iter().map(|(at, ..)| *at).collect();
    assert_eq!(at.len(), 4);
    for pair in at.windows(2) {
        let waited = pair[1] - pair[0];
        assert!(RETRY_MIN <= waited && waited <= RETRY_MAX, "{waited:?}");
    }
    assert_eq!((bench.result("ok"), bench.result("failed"), bench.result("gave_up")), (1, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_asks_for_time_gets_it_within_reason() {
    let mut bench = bench(1, 2, |notice, nth| {
        let asked = if notice.fingerprint == "x" { 45 } else { 1_000_000 };
        async move {
            let retry_after = Some(Duration::from_secs(asked));
            let busy = Rejected::Temporary { message: "busy".into(), retry_after };
            if nth == 1 { Err(busy) } else { Ok("done".into()) }
        }
    });
    bench.line.push(firing("x"), false);
    bench.line.push(firing("y"), false);
    bench.finish().await;
    let tries = bench.tries.lock().unwrap();
    let second = |key: &str| tries.iter().filter(|(_, k, _)| k == key).nth(1).unwrap().0;
    assert!((45..47).contains(&second("x").as_secs()), "{:?}", second("x"));
    assert!((600..602).contains(&second("y").as_secs()), "{:?}", second("y"));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_work_is_not_repeated_and_its_end_is_withheld() {
    let mut bench = bench(5, 1, |_, _| async { Err(Rejected::Permanent("no such thing".into())) });
    bench.line.push(firing("x"), false);
    bench.line.push(clearing("x"), true);
    bench.finish().await;
    assert_eq!(bench.tried(), [("x".into(), State::Firing)]);
    assert_eq!((bench.result("gave_up"), bench.result("withheld")), (1, 1));
    let last = bench.line.health().last.clone().unwrap();
    assert_eq!((last.ok, last.outcome.as_str()), (false, "no such thing"));
}

#[tokio::test(start_paused = true)]
async fn a_panicking_action_is_a_failure_and_the_next_notice_is_done() {
    let mut bench = bench(5, 1, |notice, _| {
        assert_ne!(notice.fingerprint, "x", "a defect");
        done()
    });
    bench.line.push(firing("x"), false);
    bench.line.push(firing("y"), false);
    bench.finish().await;
    assert_eq!((bench.result("gave_up"), bench.result("ok")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_try_that_hangs_ends_at_its_timeout_and_others_pass_it() {
    let mut bench = bench(0, 2, |notice, _| {
        let hangs = notice.fingerprint == "x";
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            done().await
        }
    });
    bench.line.push(firing("x"), false);
    bench.line.push(firing("y"), false);
    bench.line.push(firing("z"), false);
    bench.finish().await;
    let tries = bench.tries.lock().unwrap().clone();
    assert_eq!(tries.len(), 3);
    assert!(tries.iter().all(|(at, ..)| at.is_zero()), "{tries:?}");
    assert_eq!(bench.at_once_most.load(Ordering::SeqCst), 2);
    assert_eq!((bench.result("gave_up"), bench.result("ok")), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_retry_takes_no_slot_while_it_waits() {
    let mut bench = bench(1, 1, |notice, nth| {
        let fails = notice.fingerprint == "x" && nth == 1;
        async move { if fails { Err(Rejected::temporary("no")) } else { done().await } }
    });
    bench.line.push(firing("x"), false);
    bench.line.push(clearing("x"), true);
    bench.line.push(firing("y"), false);
    bench.finish().await;
    let expected = [
        ("x".to_owned(), State::Firing),
        ("y".to_owned(), State::Firing),
        ("x".to_owned(), State::Firing),
        ("x".to_owned(), State::Inactive),
    ];
    assert_eq!(bench.tried(), expected);
}

#[tokio::test(start_paused = true)]
async fn no_more_run_at_once_than_allowed() {
    let mut bench = bench(0, 3, |_, _| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        done().await
    });
    for n in 0..10 {
        bench.line.push(firing(&n.to_string()), false);
    }
    bench.finish().await;
    assert_eq!(bench.at_once_most.load(Ordering::SeqCst), 3);
    assert_eq!(bench.result("ok"), 10);
}

#[tokio::test(start_paused = true)]
async fn a_successor_takes_over_what_waits_and_keeps_the_order() {
    let slow = |_: &Notice, _| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        done().await
    };
    let mut old = bench(0, 1, slow);
    old.line.push(firing("x"), false);
    old.line.push(clearing("x"), true);
    tokio::time::advance(Duration::from_millis(1)).await;
    tokio::task::yield_now().await;
    old.retired.cancel();
    let mut new = bench(0, 1, slow);
    new.tasks.abort_all();
    let runner = Runner {
        action: Arc::new(Scripted {
            script: slow,
            tries: new.tries.clone(),
            at_once: AtomicUsize::new(0),
            at_once_most: Arc::default(),
            started: Instant::now(),
        }),
        limit: LIMIT,
        retries: 0,
        concurrency: 1,
        tells_people: true,
        line: old.line.clone(),
        shared: Arc::new(Shared::new(Arc::new(Clock::starting_at(Timestamp::from_secs(0))))),
    };
    old.tasks.spawn(runner.run(CancellationToken::new(), old.closing.clone()));
    old.finish().await;
    assert_eq!(old.tried(), [("x".into(), State::Firing)]);
    assert_eq!(new.tried(), [("x".into(), State::Inactive)]);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_within_the_grace_whatever_hangs() {
    let shared = Arc::new(Shared::new(Arc::new(Clock::starting_at(Timestamp::from_secs(0)))));
    let mut actions = Actions::start(&[], shared, Arc::default());
    let mut bench = bench(5, 1, |_, _| async { Err(Rejected::temporary("no")) });
    bench.line.push(firing("x"), false);
    bench.tasks.abort_all();
    actions.tasks.spawn(std::future::pending());
    let started = Instant::now();
    actions.close(Duration::from_secs(3)).await;
    assert_eq!(started.elapsed().as_secs(), 3);
}
