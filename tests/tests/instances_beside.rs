//! Instances that are put back beside everything else a process may have: few descriptors, addresses and
//! mappings, foreign signal handlers, small signal stacks, another runtime within a host function. Each
//! in a process of its own.

#![cfg(target_os = "linux")]
#![expect(
    unsafe_code,
    reason = "limits of the process, signal handlers and stacks are set"
)]

use std::{
    process::Command,
    ptr::null_mut,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use slackwater_executor::{
    CallContext, CallError, CallLimits, CallOutcome, ExecutorConfig, Fuel, HeapPages, InstanceMode,
    LocalLimit, Runtime, call_on_state,
    fuel::{OnOverrun, Refuel},
    state::{Extensions, MemoryState},
};
use slackwater_runtime_fixtures::guest::GUEST_WASM;
use slackwater_tests::{Executor, executor_with};
use sp_core::storage::{StateVersion, Storage, well_known_keys::CODE};
use sp_state_machine::BasicExternalities;

/// Names what a process is to do.
const TASK: &str = "SLACKWATER_BESIDE";

/// Does `work` in a process of its own, which `test` is started as again.
fn apart(test: &str, work: impl FnOnce()) {
    if std::env::var_os(TASK).is_some() {
        return work();
    }
    let this = std::env::current_exe().expect("this test");
    let output = Command::new(this)
        .args(["--exact", test, "--nocapture"])
        .env(TASK, test)
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains("1 passed"), "{}: {output:?}", output.status);
}

fn dirty(page: u32) -> Vec<u8> {
    [(page * 4_096).to_le_bytes(), 1_u32.to_le_bytes()].concat()
}

fn call(
    executor: &Executor,
    runtime: &Runtime,
    method: &str,
    input: &[u8],
) -> Result<CallOutcome, CallError> {
    let mut ext = BasicExternalities::default();
    // What is allocated makes the memory grow.
    let heap = match method {
        "test_alloc" => HeapPages::Dynamic { maximum: None },
        _ => HeapPages::default(),
    };
    executor.call(runtime, &mut ext, method, input, heap)
}

/// Calls that are learned, sealed and unsealed, and that grow; some of them trap.
fn calls(executor: &Executor, runtime: &Runtime) -> Vec<Result<CallOutcome, CallError>> {
    let pages = [
        2_000, 2_000, 2_000, 2_000, 2_000, 2_000, 3_000, 2_000, 4_000,
    ];
    let mut made = Vec::new();
    for page in pages {
        made.push(call(
            executor,
            runtime,
            "test_dirty_plenty_memory",
            &dirty(page),
        ));
        made.push(call(
            executor,
            runtime,
            "test_dirty_plenty_memory",
            &dirty(1_048_575),
        ));
        made.push(call(executor, runtime, "test_memory_size", &[]));
    }
    for bytes in [3_000_000_u32, 3_000_000, 3_000_000, 3_000_000, 9_000_000] {
        made.push(call(executor, runtime, "test_alloc", &bytes.to_le_bytes()));
    }
    made
}

/// That these calls ended as `calls` should, or for want of memory; how many were refused.
fn refused(made: &[Result<CallOutcome, CallError>]) -> usize {
    let executor = executor_with(ExecutorConfig::default().with_instances(InstanceMode::Fresh));
    let runtime = executor.runtime(GUEST_WASM).expect("it loads");
    let expected = calls(&executor, &runtime);
    let mut refused = 0;
    for (made, expected) in made.iter().zip(&expected) {
        match made {
            Ok(made) => match (made, expected.as_ref().expect("an outcome")) {
                (CallOutcome::Trapped(made), CallOutcome::Trapped(expected)) => {
                    assert_eq!(made.kind, expected.kind);
                }
                (made, expected) => assert_eq!(made, expected),
            },
            Err(CallError::HostOutOfMemory(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    refused
}

/// Sets a limit of this process, and returns the one it had.
fn limit(resource: libc::__rlimit_resource_t, soft: u64) -> u64 {
    let mut had = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: reads a limit of this process.
    assert_eq!(unsafe { libc::getrlimit(resource, &raw mut had) }, 0);
    let wanted = libc::rlimit {
        rlim_cur: soft,
        ..had
    };
    // SAFETY: sets a limit of this process.
    assert_eq!(unsafe { libc::setrlimit(resource, &raw const wanted) }, 0);
    had.rlim_cur
}

#[test]
fn without_descriptors_images_are_copied() {
    apart("without_descriptors_images_are_copied", || {
        let executor = executor_with(ExecutorConfig::default());
        let had = limit(libc::RLIMIT_NOFILE, 0);
        let runtime = executor.runtime(GUEST_WASM).expect("it loads");
        let made = calls(&executor, &runtime);
        limit(libc::RLIMIT_NOFILE, had);
        assert_eq!(refused(&made), 0);
        assert!(runtime.instances().reused > 10);
    });
}

/// An executor made without descriptors cannot have its memories tracked.
#[test]
fn an_executor_without_descriptors_gives_memory_back() {
    apart("an_executor_without_descriptors_gives_memory_back", || {
        let had = limit(libc::RLIMIT_NOFILE, 0);
        let executor = executor_with(ExecutorConfig::default());
        let runtime = executor.runtime(GUEST_WASM).expect("it loads");
        let made = calls(&executor, &runtime);
        limit(libc::RLIMIT_NOFILE, had);
        assert_eq!(refused(&made), 0);
        assert!(runtime.instances().reused > 10);
    });
}

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this process");
    let line = status.lines().find(|line| line.starts_with(field));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    kilobytes.unwrap_or_else(|| panic!("no {field}"))
}

#[test]
fn without_addresses_there_are_fewer_instances() {
    apart("without_addresses_there_are_fewer_instances", || {
        const CALLS: usize = 8;
        let executor = executor_with(ExecutorConfig::default());
        let runtime = executor.runtime(GUEST_WASM).expect("it loads");
        let (arrived, begun) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let room = status("VmSize:") * 1_024 + (20 << 30);
        let made: Vec<_> = std::thread::scope(|scope| {
            let running: Vec<_> = (0..CALLS)
                .map(|_| {
                    scope.spawn(|| {
                        // No thread is made once addresses are few.
                        begun.fetch_add(1, Ordering::SeqCst);
                        while begun.load(Ordering::SeqCst) <= CALLS {
                            std::thread::yield_now();
                        }
                        let waiting = Arc::clone(&arrived);
                        let refuel = move |_| {
                            waiting.fetch_add(1, Ordering::SeqCst);
                            while waiting.load(Ordering::SeqCst) < CALLS {
                                std::thread::yield_now();
                            }
                            Refuel::Extend(Fuel(1 << 50))
                        };
                        let mut limits = CallLimits::none();
                        limits.local = Some(LocalLimit {
                            fuel: Fuel(0),
                            on_overrun: OnOverrun::Refuel(Arc::new(refuel)),
                        });
                        let mut ext = BasicExternalities::default();
                        let heap = HeapPages::default();
                        let method = "test_memory_size";
                        let made =
                            executor.call_limited(&runtime, &mut ext, method, &[], heap, &limits);
                        if made.is_err() {
                            arrived.fetch_add(1, Ordering::SeqCst);
                        }
                        made
                    })
                })
                .collect();
            while begun.load(Ordering::SeqCst) < CALLS {
                std::thread::yield_now();
            }
            let had = limit(libc::RLIMIT_AS, room);
            begun.fetch_add(1, Ordering::SeqCst);
            let made = running
                .into_iter()
                .map(|call| call.join().expect("no panic"));
            let made = made.collect();
            limit(libc::RLIMIT_AS, had);
            made
        });
        let (returned, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
        assert!(!returned.is_empty() && !refused.is_empty(), "{refused:?}");
        for refused in refused {
            let error = refused.expect_err("it was refused");
            assert!(matches!(error, CallError::HostOutOfMemory(_)), "{error:?}");
        }
        assert!(call(&executor, &runtime, "test_memory_size", &[]).is_ok());
    });
}

const PAGE: usize = 4_096;

/// New pages that nobody may touch, and that nobody knows of but the caller.
fn map(pages: usize) -> *mut libc::c_void {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let base = unsafe { libc::mmap(null_mut(), pages * PAGE, libc::PROT_NONE, flags, -1, 0) };
    assert_ne!(base, libc::MAP_FAILED);
    base
}

/// Whether the kernel lets a page of [`map`]'s be accessed so.
fn protect(page: *mut libc::c_void, access: libc::c_int) -> bool {
    // SAFETY: a page of this test's, in which no Rust value lies.
    unsafe { libc::mprotect(page, PAGE, access) == 0 }
}

/// Mappings that nobody needs, until this is dropped.
struct Taken(*mut libc::c_void);

impl Taken {
    const PAGES: usize = 140_000;

    /// All that the kernel gives, but `left`.
    fn all_but(left: usize) -> Self {
        let base = map(Self::PAGES);
        // Every second page becomes one, and parts two others.
        let page = |number: usize| base.wrapping_byte_add((2 * number + 1) * PAGE);
        let split =
            (0..Self::PAGES / 2).take_while(|number| protect(page(*number), libc::PROT_READ));
        let split = split.count();
        assert!(split < Self::PAGES / 2, "the kernel gives any number");
        for number in split - left.div_ceil(2)..split {
            assert!(protect(page(number), libc::PROT_NONE));
        }
        Self(base)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: a mapping of this test's, that nobody uses.
        unsafe { libc::munmap(self.0, Self::PAGES * PAGE) };
    }
}

#[test]
fn without_mappings_memory_is_not_sealed() {
    apart("without_mappings_memory_is_not_sealed", || {
        let executor = executor_with(ExecutorConfig::default());
        let runtime = executor.runtime(GUEST_WASM).expect("it loads");
        let mut all = Vec::new();
        for left in [0, 4, 8, 12, 16, 24, 40] {
            let taken = Taken::all_but(left);
            let made = calls(&executor, &runtime);
            drop(taken);
            let refused = refused(&made);
            all.push(refused);
            // Whatever is left works again.
            assert_eq!(self::refused(&calls(&executor, &runtime)), 0, "{left}");
        }
        assert!(all[0] > 0, "{all:?}");
        assert_eq!(all.last(), Some(&0), "{all:?}");
    });
}

/// Faults a foreign handler was asked about, and those it knew.
static ASKED: AtomicUsize = AtomicUsize::new(0);
static OWN: AtomicUsize = AtomicUsize::new(0);
/// The page it knows of.
static KNOWN: AtomicUsize = AtomicUsize::new(0);
static BEFORE: std::sync::OnceLock<libc::sigaction> = std::sync::OnceLock::new();

/// Opens its own page; asks whoever was there before about all others.
extern "C" fn foreign(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    ASKED.fetch_add(1, Ordering::Relaxed);
    // SAFETY: the kernel gives a handler what it was asked for.
    let info_of_fault = unsafe { &*info };
    // SAFETY: this signal comes with an address.
    let address = unsafe { info_of_fault.si_addr() }.addr();
    let known = KNOWN.load(Ordering::Relaxed);
    if address & !(PAGE - 1) == known {
        OWN.fetch_add(1, Ordering::Relaxed);
        protect(
            std::ptr::without_provenance_mut(known),
            libc::PROT_READ | libc::PROT_WRITE,
        );
        return;
    }
    let before = BEFORE
        .get()
        .map_or(libc::SIG_DFL, |before| before.sa_sigaction);
    if before == libc::SIG_DFL || before == libc::SIG_IGN {
        std::process::abort();
    }
    type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);
    // SAFETY: it was installed as such a handler; both the engine's and the standard library's are.
    let before: Handler = unsafe { std::mem::transmute(before) };
    before(signal, info, context);
}

fn install() {
    // SAFETY: zeros are a `sigaction`, without handler, flags and mask.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) =
        unsafe { std::mem::zeroed() };
    action.sa_sigaction = foreign as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
    // SAFETY: installs a handler that does only what is safe in one.
    let set = unsafe { libc::sigaction(libc::SIGSEGV, &raw const action, &raw mut before) };
    assert_eq!(set, 0);
    assert!(BEFORE.set(before).is_ok(), "it is installed once");
}

/// A fault that only the foreign handler knows about.
fn fault_of_its_own() {
    let page = map(1);
    KNOWN.store(page.addr(), Ordering::Relaxed);
    // SAFETY: a page of this test's; the handler opens it.
    unsafe { page.cast::<u8>().write_volatile(7) };
}

#[test]
fn a_foreign_handler_from_before_is_asked_about_its_own_faults() {
    let name = "a_foreign_handler_from_before_is_asked_about_its_own_faults";
    apart(name, || {
        install();
        let executor = executor_with(ExecutorConfig::default());
        let runtime = executor.runtime(GUEST_WASM).expect("it loads");
        assert_eq!(refused(&calls(&executor, &runtime)), 0);
        assert_eq!(ASKED.load(Ordering::Relaxed), 0, "ours are not its own");
        fault_of_its_own();
        assert_eq!(OWN.load(Ordering::Relaxed), 1);
        assert_eq!(refused(&calls(&executor, &runtime)), 0);
    });
}

#[test]
fn a_foreign_handler_from_afterwards_asks_us() {
    apart("a_foreign_handler_from_afterwards_asks_us", || {
        let executor = executor_with(ExecutorConfig::default());
        let runtime = executor.runtime(GUEST_WASM).expect("it loads");
        install();
        assert_eq!(refused(&calls(&executor, &runtime)), 0);
        assert!(ASKED.load(Ordering::Relaxed) > 0, "it comes first");
        fault_of_its_own();
        assert_eq!(OWN.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_small_signal_stack_is_no_hindrance() {
    apart("a_small_signal_stack_is_no_hindrance", || {
        let executor = executor_with(ExecutorConfig::default());
        let runtime = executor.runtime(GUEST_WASM).expect("it loads");
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // The smallest the kernel takes; the engine brings its own where that is too small.
                // SAFETY: asks for a constant of the system.
                let least = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) };
                let least = usize::try_from(least)
                    .expect("bytes")
                    .max(libc::MINSIGSTKSZ);
                let mut small = vec![0_u8; least];
                let stack = libc::stack_t {
                    ss_sp: small.as_mut_ptr().cast(),
                    ss_flags: 0,
                    ss_size: small.len(),
                };
                // SAFETY: memory that nobody else uses, and that outlives what this thread does.
                let set = unsafe { libc::sigaltstack(&raw const stack, null_mut()) };
                assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
                assert_eq!(refused(&calls(&executor, &runtime)), 0);
                let none = libc::stack_t {
                    ss_flags: libc::SS_DISABLE,
                    ..stack
                };
                // SAFETY: takes the stack away again before its memory goes.
                unsafe { libc::sigaltstack(&raw const none, null_mut()) };
            });
        });
    });
}

/// Code from before there were version sections.
const OLD_RUNTIME: &str = r#"(module
    (memory (export "memory") 2)
    (global (export "__heap_base") i32 (i32.const 70000))
    (data (i32.const 1024) "\00\00\01\00\00\00\09\00\00\00\01\00\00\00\00\01\00\00\00\01")
    (func (export "Core_version") (param i32 i32) (result i64)
        (i32.store (i32.const 40000) (i32.add (i32.load (i32.const 40000)) (i32.const 1)))
        (i32.store8 (i32.const 1030)
            (i32.add (i32.load8_u (i32.const 1030)) (i32.load (i32.const 40000))))
        (i64.const 0x1400000400)))"#;

/// A host function that runs another runtime, between calls that fault.
#[test]
fn another_runtime_within_a_host_function_is_as_alone() {
    // It states its version only when it is called, as one more than its data says.
    let code = wat::parse_str(OLD_RUNTIME).expect("wat");
    let storage = Storage {
        top: [(CODE.to_vec(), GUEST_WASM.to_vec())].into(),
        ..Storage::default()
    };
    let state = MemoryState::new(storage, StateVersion::V1);
    let [fresh, snapshot] = [InstanceMode::Fresh, InstanceMode::Snapshot].map(|mode| {
        let executor = executor_with(ExecutorConfig::default().with_instances(mode));
        let called = |method: &str, input: &[u8]| {
            let extensions = Extensions::new();
            call_on_state(
                &executor,
                &state,
                CallContext::Import,
                method,
                input,
                extensions,
            )
            .expect("an outcome")
            .outcome
        };
        let made: Vec<_> = (0..30_u32)
            .map(|number| {
                let page = if number % 7 == 6 {
                    2_000 + number
                } else {
                    2_000
                };
                let before = called("test_dirty_plenty_memory", &dirty(page));
                (before, called("test_runtime_version", &code))
            })
            .collect();
        let runtime = executor.runtime(GUEST_WASM).expect("it loads");
        (made, runtime.instances().reused)
    });
    assert_eq!(fresh.0, snapshot.0);
    assert!(snapshot.1 > 50);
    let CallOutcome::Returned(version) = &snapshot.0[0].1 else {
        panic!("{:?}", snapshot.0[0].1);
    };
    assert_eq!(version[..2], [1, 20 << 2], "a version of 20 bytes");
    assert_eq!(version[2 + 6], 10, "its own is one more than its data says");
}
