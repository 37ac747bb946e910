//! A team of threads that lives as long as a session.
//!
//! All members run the same job, each with its part, and meet at a [`Barrier`]. The calling thread is member 0; a team of
//! one makes no thread. Between jobs the others spin for a moment, then sleep: an idle session costs nothing. A member
//! that panics ends the job for all, and the team is as good as new for the next one.
//!
//! Threads are the team's own, or the caller's: who brings threads gets a [`Serve`] for each and runs it there.

use super::barrier::{Backoff, Barrier};
use super::decode::PanelGrid;
use super::gemm::Room;
use actc_types::{Diagnostic, Result};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// Most threads of a team.
pub(crate) const MAX_THREADS: usize = 1024;

/// Memory that a member keeps from step to step.
#[derive(Default)]
pub(crate) struct Scratch {
    /// Decoded weights, scores and the like; grows as needed.
    pub floats: Vec<f32>,
    /// Rows of a cache as floats; grows as needed.
    pub rows: Vec<f32>,
    /// Scales and zero points of a panel that is being decoded.
    pub grid: PanelGrid,
    /// Sides of products.
    pub product: Room,
}

/// One member of a team, as its job sees it.
pub(crate) struct Member<'a> {
    /// Which part, below `parts`.
    pub part: usize,
    /// Number of members.
    pub parts: usize,
    /// Where members meet.
    pub barrier: &'a Barrier,
    /// The member's own memory.
    pub scratch: &'a mut Scratch,
}

/// Where a member that works by itself meets the others: nobody.
static NOBODY: Barrier = Barrier::new(1);

impl Member<'_> {
    /// The only member, with this memory.
    fn only(scratch: &mut Scratch) -> Member<'_> {
        Member { part: 0, parts: 1, barrier: &NOBODY, scratch }
    }

    /// The member as if it were the only one.
    pub(crate) fn alone(&mut self) -> Member<'_> {
        Member::only(self.scratch)
    }
}

type Job = Arc<dyn Fn(&mut Member<'_>) + Send + Sync>;

struct Orders {
    job: Option<Job>,
    quit: bool,
    /// Members that serve or may yet begin to.
    serving: usize,
    /// Whether a member left before the team was dropped: nobody does its part.
    incomplete: bool,
}

struct Shared {
    parts: usize,
    barrier: Barrier,
    orders: Mutex<Orders>,
    wake: Condvar,
    left: Condvar,
    /// Number of jobs given so far, and one more to quit; changes under the lock of `orders`.
    jobs: AtomicU64,
    done: AtomicUsize,
    panic: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding these locks; what they guard stays sound anyway.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}

fn panicked(text: &str) -> Diagnostic {
    Diagnostic::new("runtime-panic", format!("a thread of the runtime panicked: {text}"))
        .help("this is a mistake in actc; please report it")
}

impl Shared {
    fn work(&self, job: &Job, part: usize, scratch: &mut Scratch) {
        let mut member = Member { part, parts: self.parts, barrier: &self.barrier, scratch };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(&mut member))) {
            lock(&self.panic).get_or_insert_with(|| message(&*panic));
            self.barrier.poison();
        }
    }

    /// What every member but the first does until the team is dropped.
    fn serve(&self, part: usize) {
        let mut scratch = Scratch::default();
        let mut seen = 0;
        while let Some(job) = self.next(&mut seen) {
            self.work(&job, part, &mut scratch);
            drop(job);
            self.done.fetch_add(1, Ordering::Release);
        }
    }

    /// The job after number `seen`, or `None` to quit.
    fn next(&self, seen: &mut u64) -> Option<Job> {
        let mut backoff = Backoff::default();
        while self.jobs.load(Ordering::Acquire) == *seen && !backoff.is_tired() {
            backoff.wait();
        }
        let mut orders = lock(&self.orders);
        loop {
            if orders.quit {
                return None;
            }
            let jobs = self.jobs.load(Ordering::Acquire);
            if jobs != *seen {
                *seen = jobs;
                return orders.job.clone();
            }
            orders = self.wake.wait(orders).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// The work of one member, for a thread that does nothing else until the session is dropped.
pub struct Serve {
    shared: Arc<Shared>,
    part: usize,
}

impl Serve {
    /// Serves until the session is dropped. Never panics.
    pub fn run(self) {
        self.shared.serve(self.part);
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let mut orders = lock(&self.shared.orders);
        orders.serving -= 1;
        orders.incomplete |= !orders.quit;
        drop(orders);
        self.shared.left.notify_all();
    }
}

/// A team of threads.
pub(crate) struct Team {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    scratch: Scratch,
}

impl Team {
    /// A team of `parts` members, the caller included, with threads of its own.
    pub(crate) fn new(parts: usize) -> Result<Team> {
        let mut threads = Vec::new();
        let team = Team::on(parts, &mut |part, serve| {
            let thread = std::thread::Builder::new().name(format!("actc-{part}"));
            threads.push(thread.spawn(move || serve.run())?);
            Ok(())
        });
        // After a failure, those that were started leave by themselves.
        let mut team = team?;
        team.threads = threads;
        Ok(team)
    }

    /// A team of `parts` members, the caller included; `start` gives each of the others a thread of its own, at once.
    pub(crate) fn on(parts: usize, start: &mut dyn FnMut(usize, Serve) -> std::io::Result<()>) -> Result<Team> {
        if parts == 0 || parts > MAX_THREADS {
            return Err(Diagnostic::request(
                "thread-count",
                format!("{parts} threads, from 1 to {MAX_THREADS} can be"),
            ));
        }
        let orders = Orders { job: None, quit: false, serving: 0, incomplete: false };
        let shared = Arc::new(Shared {
            parts,
            barrier: Barrier::new(parts as u32),
            orders: Mutex::new(orders),
            wake: Condvar::new(),
            left: Condvar::new(),
            jobs: AtomicU64::new(0),
            done: AtomicUsize::new(0),
            panic: Mutex::new(None),
        });
        // Members join one by one, so that dropping the team cleans up after a failure.
        let team = Team { shared, threads: Vec::new(), scratch: Scratch::default() };
        for part in 1..parts {
            lock(&team.shared.orders).serving += 1;
            let serve = Serve { shared: team.shared.clone(), part };
            start(part, serve)
                .map_err(|e| Diagnostic::new("thread-start", format!("cannot start thread {part} of {parts}: {e}")))?;
        }
        Ok(team)
    }

    /// Runs `job` on the calling thread alone, as a team of one would. An error where it panicked.
    pub(crate) fn run_alone<R>(&mut self, job: impl FnOnce(&mut Member<'_>) -> R) -> Result<R> {
        let mut member = Member::only(&mut self.scratch);
        catch_unwind(AssertUnwindSafe(|| job(&mut member))).map_err(|panic| panicked(&message(&*panic)))
    }

    /// Runs `job` on all members and waits for them. An error where one of them panicked.
    pub(crate) fn run(&mut self, job: Job) -> Result<()> {
        let shared = &*self.shared;
        if shared.parts > 1 {
            shared.done.store(0, Ordering::Release);
            let mut orders = lock(&shared.orders);
            if orders.incomplete {
                let headline = "a thread that was to serve the session left, or never came";
                return Err(Diagnostic::new("thread-start", headline).help("run every `Serve` on a thread of its own"));
            }
            orders.job = Some(job.clone());
            shared.jobs.fetch_add(1, Ordering::Release);
            drop(orders);
            shared.wake.notify_all();
        }
        shared.work(&job, 0, &mut self.scratch);
        drop(job);
        let mut backoff = Backoff::default();
        while shared.done.load(Ordering::Acquire) < shared.parts - 1 {
            backoff.wait();
        }
        // The last reference to the job goes here, so what it borrowed by `Arc` is the caller's alone again.
        lock(&shared.orders).job = None;
        shared.barrier.reset();
        match lock(&shared.panic).take() {
            None => Ok(()),
            Some(text) => Err(panicked(&text)),
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        let mut orders = lock(&self.shared.orders);
        orders.quit = true;
        // Those who still spin look at this number.
        self.shared.jobs.fetch_add(1, Ordering::Release);
        drop(orders);
        self.shared.wake.notify_all();
        let mut orders = lock(&self.shared.orders);
        while orders.serving > 0 {
            orders = self.shared.left.wait(orders).unwrap_or_else(PoisonError::into_inner);
        }
        drop(orders);
        for thread in self.threads.drain(..) {
            // A member cannot panic outside its job.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_member_passes_before_all_arrive() {
        for parts in [1usize, 2, 3, 8] {
            let mut team = Team::new(parts).unwrap();
            let counters: Arc<Vec<AtomicUsize>> = Arc::new((0..parts).map(|_| AtomicUsize::new(0)).collect());
            let wrong = Arc::new(AtomicUsize::new(0));
            let rounds = 500;
            for run in 0..20 {
                let (counters, wrong) = (counters.clone(), wrong.clone());
                team.run(Arc::new(move |member| {
                    for round in 0..rounds {
                        counters[member.part].fetch_add(1, Ordering::Relaxed);
                        member.barrier.wait().unwrap();
                        let expected = run * rounds + round + 1;
                        let all = counters.iter().all(|c| c.load(Ordering::Relaxed) == expected);
                        wrong.fetch_add(usize::from(!all), Ordering::Relaxed);
                        member.barrier.wait().unwrap();
                    }
                }))
                .unwrap();
            }
            assert_eq!(wrong.load(Ordering::Relaxed), 0, "{parts} members");
        }
    }

    #[test]
    fn a_panic_ends_the_job_for_all_and_the_team_goes_on() {
        let mut team = Team::new(4).unwrap();
        for culprit in 0..4 {
            let error = team
                .run(Arc::new(move |member| {
                    for round in 0..10 {
                        assert!(!(round == 5 && member.part == culprit), "as planned");
                        if member.barrier.wait().is_err() {
                            return;
                        }
                    }
                }))
                .unwrap_err();
            assert_eq!(error.code, "runtime-panic");
            assert!(error.headline.contains("as planned"), "{error}");
            let sum = Arc::new(AtomicUsize::new(0));
            let counted = sum.clone();
            team.run(Arc::new(move |member| {
                counted.fetch_add(member.part + 1, Ordering::Relaxed);
                member.barrier.wait().unwrap();
            }))
            .unwrap();
            assert_eq!(sum.load(Ordering::Relaxed), 10);
        }
    }

    #[test]
    fn a_member_alone_waits_for_nobody() {
        let mut team = Team::new(2).unwrap();
        let sum = Arc::new(AtomicUsize::new(0));
        let counted = sum.clone();
        team.run(Arc::new(move |member| {
            if member.part == 1 {
                let alone = member.alone();
                alone.barrier.wait().unwrap();
                counted.fetch_add(10 * alone.parts + alone.part, Ordering::Relaxed);
            }
            member.barrier.wait().unwrap();
        }))
        .unwrap();
        assert_eq!(sum.load(Ordering::Relaxed), 10);
        let parts = team.run_alone(|member| member.barrier.wait().map(|()| (member.part, member.parts)).unwrap());
        assert_eq!(parts.unwrap(), (0, 1));
        let error = team.run_alone(|_| panic!("as planned")).unwrap_err();
        assert!(error.code == "runtime-panic" && error.headline.contains("as planned"), "{error}");
    }

    #[test]
    fn threads_of_the_caller_serve_until_the_team_is_dropped() {
        let mut handles = Vec::new();
        let mut team = Team::on(3, &mut |_, serve| {
            handles.push(std::thread::spawn(move || serve.run()));
            Ok(())
        })
        .unwrap();
        let sum = Arc::new(AtomicUsize::new(0));
        for _ in 0..20 {
            let counted = sum.clone();
            team.run(Arc::new(move |member| {
                counted.fetch_add(member.part + 1, Ordering::Relaxed);
                member.barrier.wait().unwrap();
            }))
            .unwrap();
        }
        assert_eq!(sum.load(Ordering::Relaxed), 120);
        drop(team);
        for handle in handles {
            handle.join().unwrap();
        }
    }

    #[test]
    fn threads_that_never_come_are_an_error() {
        // One is let go before the first job, one is refused at once.
        let mut team = Team::on(2, &mut |_, _serve| Ok(())).unwrap();
        assert_eq!(team.run(Arc::new(|_| {})).unwrap_err().code, "thread-start");
        let refused = Team::on(4, &mut |part, serve| match part {
            1 => Ok(drop(std::thread::spawn(move || serve.run()))),
            _ => Err(std::io::Error::other("no more")),
        });
        let error = refused.err().unwrap();
        assert!(error.code == "thread-start" && error.headline.contains("thread 2 of 4: no more"), "{error}");
    }

    #[test]
    fn the_job_is_let_go() {
        let mut team = Team::new(3).unwrap();
        let mut held = Arc::new(5);
        for _ in 0..50 {
            let job = held.clone();
            team.run(Arc::new(move |_| assert_eq!(*job, 5))).unwrap();
            assert!(Arc::get_mut(&mut held).is_some());
        }
    }
}
