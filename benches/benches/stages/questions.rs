//! The stages.

use std::{cell::RefCell, hint::black_box, time::Duration};

use criterion::Criterion;
use slackwater_benches::{
    modules::{DIRTY, dirty_input, with_dirtying},
    report::Report,
    session::{Session, executor},
    turns::{Turns, per_call, timed},
};
use slackwater_executor::{ExecutorConfig, InstanceMode, RuntimeBlob};
use sp_core::storage::Storage;
use sp_state_machine::BasicExternalities;

use crate::{
    blocks::Blocks,
    peer::{self, Peer},
};

const VERSION: &str = "Core_version";
/// Calls that are timed together go on for as long.
const TURN: Duration = Duration::from_millis(2);
/// Pages of 4 KiB that a call writes to.
const DIRTIED: u32 = 256;

pub(crate) fn load(criterion: &mut Criterion, code: &[u8], report: &mut Report) {
    let config = ExecutorConfig::default();
    Turns {
        ours: &mut |_| {
            let load = || RuntimeBlob::new(code, config.code_bytes_max, config.profile);
            let (blob, took) = timed(load);
            blob.expect("a runtime");
            took
        },
        peer: &mut |_| timed(|| peer::load(code)).1,
    }
    .ask(criterion, "stages/load", 30, report);
}

pub(crate) fn compile(criterion: &mut Criterion, code: &[u8], report: &mut Report) {
    Turns {
        ours: &mut |_| timed(|| Session::new(InstanceMode::Snapshot, code)).1,
        peer: &mut |_| timed(|| Peer::new(code)).1,
    }
    .ask_once_a_sample(criterion, "stages/compile", 15, report);
}

pub(crate) fn instantiate(criterion: &mut Criterion, code: &[u8], report: &mut Report) {
    let mut ours = Session::new(InstanceMode::Fresh, code);
    let (peer, mut ext) = (Peer::new(code), BasicExternalities::default());
    Turns {
        ours: &mut |_| {
            per_call(TURN, || {
                black_box(ours.call(VERSION, &[]));
            })
        },
        peer: &mut |_| {
            per_call(TURN, || {
                let mut instance = peer.instance();
                black_box(peer::call(&mut *instance, &mut ext, VERSION, &[]));
            })
        },
    }
    .ask(criterion, "stages/instantiate", 30, report);
}

pub(crate) fn call(criterion: &mut Criterion, code: &[u8], report: &mut Report) {
    let mut ours = Session::new(InstanceMode::Snapshot, code);
    let mut ext = BasicExternalities::default();
    let mut peer = Peer::new(code).instance();
    let answer = peer::call(&mut *peer, &mut ext, VERSION, &[]);
    assert_eq!(ours.call(VERSION, &[]), answer);
    Turns {
        ours: &mut |_| {
            per_call(TURN, || {
                black_box(ours.call(VERSION, &[]));
            })
        },
        peer: &mut |_| {
            per_call(TURN, || {
                black_box(peer::call(&mut *peer, &mut ext, VERSION, &[]));
            })
        },
    }
    .ask(criterion, "stages/call", 30, report);
}

/// What calls take longer that write to memory. The two have an instance each: one that has learned that much is written to
/// looks there after every call.
struct Difference<F> {
    without: F,
    with: F,
}

impl<F: FnMut(&[u8])> Difference<F> {
    fn of(&mut self) -> Duration {
        let (none, much) = (dirty_input(0), dirty_input(DIRTIED));
        let none = per_call(TURN, || (self.without)(&none));
        let much = per_call(TURN, || (self.with)(&much));
        much.saturating_sub(none)
    }
}

pub(crate) fn reset(criterion: &mut Criterion, code: &[u8], report: &mut Report) {
    let config = ExecutorConfig::default();
    let unpacked = RuntimeBlob::new(code, config.code_bytes_max, config.profile);
    let code = with_dirtying(unpacked.expect("a runtime").wasm());
    let ours = || {
        let mut session = Session::new(InstanceMode::Snapshot, &code);
        move |input: &[u8]| {
            black_box(session.call(DIRTY, input));
        }
    };
    let mut ours = Difference {
        without: ours(),
        with: ours(),
    };
    let module = Peer::new(&code);
    let peer = || {
        let (mut instance, mut ext) = (module.instance(), BasicExternalities::default());
        move |input: &[u8]| {
            black_box(peer::call(&mut *instance, &mut ext, DIRTY, input));
        }
    };
    let mut peer = Difference {
        without: peer(),
        with: peer(),
    };
    Turns {
        ours: &mut |_| ours.of(),
        peer: &mut |_| peer.of(),
    }
    .ask(criterion, "stages/reset", 30, report);
}

/// Roots and commits of the same kind of blocks.
pub(crate) fn blocks(criterion: &mut Criterion, genesis: &Storage, report: &mut Report) {
    let blocks = RefCell::new(Blocks::new(executor(InstanceMode::Snapshot), genesis));
    Turns {
        ours: &mut |turn| {
            let mut blocks = blocks.borrow_mut();
            blocks.begin(turn);
            blocks.root()
        },
        peer: &mut |turn| {
            let mut blocks = blocks.borrow_mut();
            blocks.begin(turn);
            blocks.peers_root()
        },
    }
    .ask_once_a_sample(criterion, "stages/root", 20, report);
    blocks.borrow_mut().finish();
    Turns {
        ours: &mut |turn| {
            let mut blocks = blocks.borrow_mut();
            blocks.begin(turn);
            blocks.commit().expect("once a turn")
        },
        peer: &mut |turn| {
            let mut blocks = blocks.borrow_mut();
            blocks.begin(turn);
            blocks.peers_commit().expect("once a turn")
        },
    }
    .ask_once_a_sample(criterion, "stages/commit", 20, report);
}
