//! A steady call of an instance that is put back makes no system call: it is made by a thread that is not
//! allowed any but to read, to write and to end.

#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "the kernel is asked to forbid system calls")]
#![expect(
    clippy::print_stdout,
    reason = "how a process tells another that it lives"
)]

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use slackwater_executor::{
    CallLimits, CallOutcome, ExecutorConfig, Fuel, HeapPages, MemoryStrategy,
};
use slackwater_runtime_fixtures::guest::GUEST_WASM;
use slackwater_tests::executor_with;
use sp_state_machine::BasicExternalities;

/// Names what a process is to do that was started to be forbidden system calls.
const TASK: &str = "SLACKWATER_NO_SYSTEM_CALLS";
const DONE: &str = "made 10,000 calls";

/// Calls often enough that memory is sealed, and then under the ban; the last ones as `task` says.
fn steady(task: &str) -> ! {
    // The other strategies ask the kernel after each call.
    let executor = executor_with(ExecutorConfig::default().with_memory(MemoryStrategy::Auto));
    let runtime = executor.runtime(GUEST_WASM).expect("loads");
    let limits = CallLimits::consensus(Fuel(1 << 40));
    let mut ext = BasicExternalities::default();
    let mut call = |page: u32| {
        let input = [page.to_le_bytes(), 1_u32.to_le_bytes()].concat();
        let method = "test_dirty_plenty_memory";
        let heap = HeapPages::default();
        let called = executor.call_limited(&runtime, &mut ext, method, &input, heap, &limits);
        matches!(
            called.expect("an outcome").outcome,
            CallOutcome::Returned(_)
        )
    };
    const USUAL: u32 = 0x40_0000;
    let warm = (0..1_000).all(|_| call(USUAL));
    // SAFETY: changes what this thread may ask of the kernel, and nothing else.
    let failed = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
    assert!(warm && failed == 0, "{failed}");
    let last = if task == "another page" {
        0x60_0000
    } else {
        USUAL
    };
    let all = (0..9_999).all(|_| call(USUAL)) && call(last);
    if all {
        println!("{DONE}");
    }
    loop {
        // Whoever started this process ends it.
        std::hint::spin_loop();
    }
}

/// Whether a process with this task says within `patience` that it has done it.
fn is_done(task: &str, patience: Duration) -> bool {
    let this = std::env::current_exe().expect("this test");
    let mut child = Command::new(this)
        .args([
            "--exact",
            "a_steady_call_makes_no_system_call",
            "--nocapture",
        ])
        .env(TASK, task)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("a pipe"));
    let (told, waiting) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut lines = output.lines().map_while(Result::ok);
        if lines.any(|line| line.ends_with(DONE)) {
            // Nobody waits any more if it took too long.
            let _told = told.send(());
        }
    });
    // The kernel ends the thread that broke the ban, and the process goes on without it.
    let done = waiting.recv_timeout(patience).is_ok();
    child.kill().expect("it lives");
    child.wait().expect("it ends");
    reader.join().expect("it reads to the end");
    done
}

#[test]
fn a_steady_call_makes_no_system_call() {
    if let Ok(task) = std::env::var(TASK) {
        steady(&task);
    }
    assert!(is_done("the same pages", Duration::from_mins(2)));
    let another = is_done("another page", Duration::from_secs(10));
    assert!(!another, "a page not written to before takes one");
}
