//! Signatures verified ahead: a bounded memory of verdicts, which the functions that verify ask before they verify
//! themselves, and which a speculative call fills.
//!
//! Invariant: a verdict is remembered only as the function itself gave it for the same algorithm, key, message and
//! signature, so a guest finds the same answers with and without a memory, and whatever is in it; a host function costs
//! the same fuel in either case. Cost: a hash of what is asked about, half a microsecond for a short message, against 50
//! for a verification; so many verdicts in memory, of some 50 bytes each.
//!
//! The replacements are registered over the originals by name, see [`crate::set`]. The first versions of the functions
//! for sr25519 and ECDSA, which are for signatures of old chains, do not ask, nor do those that verify in batches or find
//! a key.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use sp_externalities::{Extension, ExternalitiesExt, with_externalities};

/// Verdicts that are remembered by default: those of some large blocks.
pub const VERDICTS_MAX_DEFAULT: usize = 1 << 15;

/// BLAKE2b-256 of algorithm, key, signature and message. The first three have fixed lengths for each algorithm.
type Question = [u8; 32];

/// What was asked about which signatures, so many of them; the oldest are forgotten.
#[derive(Debug)]
pub struct VerdictMemory {
    verdicts: Mutex<Verdicts>,
    verdicts_max: usize,
    asked: AtomicU64,
    known: AtomicU64,
}

/// Half of the verdicts each: where the young ones are as many, they become the old ones, which are forgotten.
#[derive(Debug, Default)]
struct Verdicts {
    young: HashMap<Question, bool>,
    old: HashMap<Question, bool>,
}

impl VerdictMemory {
    /// Remembers so many, at least two.
    #[must_use]
    pub fn new(verdicts_max: usize) -> Self {
        Self {
            verdicts: Mutex::default(),
            verdicts_max: verdicts_max.max(2),
            asked: AtomicU64::new(0),
            known: AtomicU64::new(0),
        }
    }

    /// How often guests asked, those not counted that ran ahead.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    /// How often the verdict was known by then.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.known.load(Ordering::Relaxed)
    }

    /// How many verdicts are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        let verdicts = self.lock();
        verdicts.young.len() + verdicts.old.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, Verdicts> {
        // Nothing that is done under the lock panics half way.
        self.verdicts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, question: &Question) -> Option<bool> {
        let verdicts = self.lock();
        let young = verdicts.young.get(question);
        young.or_else(|| verdicts.old.get(question)).copied()
    }

    fn put(&self, question: Question, verdict: bool) {
        let mut verdicts = self.lock();
        if verdicts.young.len() >= self.verdicts_max / 2 {
            verdicts.old = mem::take(&mut verdicts.young);
        }
        verdicts.young.insert(question, verdict);
    }
}

/// What a guest does with a memory.
#[derive(Debug, Clone)]
enum Role {
    /// Its questions are counted there.
    Ask(Arc<AtomicU64>),
    Fill,
}

sp_externalities::decl_extension! {
    /// The memory that a guest's host functions ask.
    pub struct VerdictMemoryExt(Handle);
}

/// A memory, and what is done with it.
#[derive(Debug, Clone)]
pub struct Handle {
    memory: Arc<VerdictMemory>,
    role: Role,
}

impl VerdictMemoryExt {
    /// For a guest whose result counts.
    #[must_use]
    pub fn ask(memory: &Arc<VerdictMemory>) -> Self {
        Self::ask_counted(memory, &Arc::default())
    }

    /// The same, and its questions are counted.
    #[must_use]
    pub fn ask_counted(memory: &Arc<VerdictMemory>, asked: &Arc<AtomicU64>) -> Self {
        Self(Handle {
            memory: Arc::clone(memory),
            role: Role::Ask(Arc::clone(asked)),
        })
    }

    /// For a guest that runs ahead, and whose result is thrown away. Every signature is verified and remembered, and the
    /// guest is told that it is wrong, so that it goes on with nothing else.
    #[must_use]
    pub fn fill(memory: &Arc<VerdictMemory>) -> Self {
        Self(Handle {
            memory: Arc::clone(memory),
            role: Role::Fill,
        })
    }
}

/// What tells algorithms apart. Two that may differ about one signature are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Sr25519 = 0,
    Ed25519 = 1,
    /// As [`sp_io::UseDalekExt`] has it.
    Ed25519Dalek = 2,
    Ecdsa = 3,
    EcdsaPrehashed = 4,
}

/// A signature in question: key, signature, message.
type Signed<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn question(algorithm: Algorithm, (key, signature, message): Signed<'_>) -> Question {
    sp_crypto_hashing::blake2_256(&[&[algorithm as u8], key, signature, message].concat())
}

/// Something that host functions find beside the storage. They have let go of it when this returns.
fn extension<E: Extension, T>(of: impl FnOnce(&mut E) -> T) -> Option<T> {
    with_externalities(|mut ext| ext.extension::<E>().map(of)).flatten()
}

/// Whether the guest that calls runs ahead, so that nobody wants to hear what it has to say.
pub(crate) fn is_ahead() -> bool {
    let role = extension(|VerdictMemoryExt(handle)| matches!(handle.role, Role::Fill));
    role.unwrap_or(false)
}

/// The verdict, from memory if there is one, else by `verify`.
fn verdict(algorithm: Algorithm, signed: Signed<'_>, verify: impl FnOnce() -> bool) -> bool {
    let Some(Handle { memory, role }) = extension(|VerdictMemoryExt(handle)| handle.clone()) else {
        return verify();
    };
    let question = question(algorithm, signed);
    let Role::Ask(asked) = role else {
        if memory.get(&question).is_none() {
            memory.put(question, verify());
        }
        return false;
    };
    asked.fetch_add(1, Ordering::Relaxed);
    memory.asked.fetch_add(1, Ordering::Relaxed);
    if let Some(verdict) = memory.get(&question) {
        memory.known.fetch_add(1, Ordering::Relaxed);
        return verdict;
    }
    // Importing what was produced here, or a fork, asks again.
    let verdict = verify();
    memory.put(question, verdict);
    verdict
}

mod interfaces {
    use sp_core::{ecdsa, ed25519, sr25519};
    use sp_runtime_interface::{
        pass_by::{PassFatPointerAndRead, PassPointerAndRead},
        runtime_interface,
    };

    use super::{Algorithm, extension, verdict};
    use crate::signers;

    /// The part of the interface for cryptography that verifies.
    #[runtime_interface]
    pub trait Crypto {
        /// Whether an ed25519 signature is right.
        fn ed25519_verify(
            sig: PassPointerAndRead<&ed25519::Signature, 64>,
            msg: PassFatPointerAndRead<&[u8]>,
            pub_key: PassPointerAndRead<&ed25519::Public, 32>,
        ) -> bool {
            let algorithm = match extension(|sp_io::UseDalekExt| ()) {
                Some(()) => Algorithm::Ed25519Dalek,
                None => Algorithm::Ed25519,
            };
            verdict(algorithm, (&pub_key.0, &sig.0, msg), || {
                sp_io::crypto::ed25519_verify(sig, msg, pub_key)
            })
        }

        /// Whether an sr25519 signature is right, or was so before version 2.
        fn sr25519_verify(
            sig: PassPointerAndRead<&sr25519::Signature, 64>,
            msg: PassFatPointerAndRead<&[u8]>,
            pub_key: PassPointerAndRead<&sr25519::Public, 32>,
        ) -> bool {
            sr25519::Pair::verify_deprecated(sig, msg, pub_key)
        }

        /// Whether an sr25519 signature is right.
        #[version(2)]
        fn sr25519_verify(
            sig: PassPointerAndRead<&sr25519::Signature, 64>,
            msg: PassFatPointerAndRead<&[u8]>,
            pub_key: PassPointerAndRead<&sr25519::Public, 32>,
        ) -> bool {
            verdict(Algorithm::Sr25519, (&pub_key.0, &sig.0, msg), || {
                signers::verify(sig, msg, pub_key)
            })
        }

        /// Whether an ECDSA signature is right, or was so before version 2.
        fn ecdsa_verify(
            sig: PassPointerAndRead<&ecdsa::Signature, 65>,
            msg: PassFatPointerAndRead<&[u8]>,
            pub_key: PassPointerAndRead<&ecdsa::Public, 33>,
        ) -> bool {
            #[expect(deprecated, reason = "what old chains hold is what it is for")]
            ecdsa::Pair::verify_deprecated(sig, msg, pub_key)
        }

        /// Whether an ECDSA signature is right.
        #[version(2)]
        fn ecdsa_verify(
            sig: PassPointerAndRead<&ecdsa::Signature, 65>,
            msg: PassFatPointerAndRead<&[u8]>,
            pub_key: PassPointerAndRead<&ecdsa::Public, 33>,
        ) -> bool {
            verdict(Algorithm::Ecdsa, (&pub_key.0, &sig.0, msg), || {
                sp_io::crypto::ecdsa_verify(sig, msg, pub_key)
            })
        }

        /// Whether an ECDSA signature of a hash is right.
        fn ecdsa_verify_prehashed(
            sig: PassPointerAndRead<&ecdsa::Signature, 65>,
            msg: PassPointerAndRead<&[u8; 32], 32>,
            pub_key: PassPointerAndRead<&ecdsa::Public, 33>,
        ) -> bool {
            verdict(Algorithm::EcdsaPrehashed, (&pub_key.0, &sig.0, msg), || {
                sp_io::crypto::ecdsa_verify_prehashed(sig, msg, pub_key)
            })
        }
    }
}

pub use interfaces::crypto;

#[cfg(test)]
mod tests {
    use sp_core::{Pair, ecdsa, ed25519, sr25519};
    use sp_io::{TestExternalities, UseDalekExt};

    use super::*;

    fn with<T>(memory: Option<VerdictMemoryExt>, work: impl FnOnce() -> T) -> T {
        let mut ext = TestExternalities::default();
        if let Some(memory) = memory {
            ext.register_extension(memory);
        }
        ext.execute_with(work)
    }

    /// A signature asked about: by the function here, and by the one that it stands for.
    type Case = (Box<dyn Fn() -> bool>, Box<dyn Fn() -> bool>);

    /// Right signatures, and each wrong in one bit.
    fn cases() -> Vec<Case> {
        let message = b"message";
        let hash = sp_crypto_hashing::blake2_256(message);
        let sr = sr25519::Pair::from_seed(&[1; 32]);
        let ed = ed25519::Pair::from_seed(&[2; 32]);
        let ec = ecdsa::Pair::from_seed(&[3; 32]);
        let mut cases: Vec<Case> = Vec::new();
        for wrong in [0, 4] {
            let (mut by_sr, key) = (sr.sign(message), sr.public());
            by_sr.0[9] ^= wrong;
            cases.push((
                Box::new(move || crypto::sr25519_verify(&by_sr, message, &key)),
                Box::new(move || sp_io::crypto::sr25519_verify(&by_sr, message, &key)),
            ));
            let (mut by_ed, key) = (ed.sign(message), ed.public());
            by_ed.0[9] ^= wrong;
            cases.push((
                Box::new(move || crypto::ed25519_verify(&by_ed, message, &key)),
                Box::new(move || sp_io::crypto::ed25519_verify(&by_ed, message, &key)),
            ));
            let (mut by_ec, key) = (ec.sign(message), ec.public());
            by_ec.0[9] ^= wrong;
            cases.push((
                Box::new(move || crypto::ecdsa_verify(&by_ec, message, &key)),
                Box::new(move || sp_io::crypto::ecdsa_verify(&by_ec, message, &key)),
            ));
            let mut by_ec = ec.sign_prehashed(&hash);
            by_ec.0[9] ^= wrong;
            cases.push((
                Box::new(move || crypto::ecdsa_verify_prehashed(&by_ec, &hash, &key)),
                Box::new(move || sp_io::crypto::ecdsa_verify_prehashed(&by_ec, &hash, &key)),
            ));
        }
        cases
    }

    #[test]
    fn verdicts_are_the_same_with_and_without_memory() {
        let memory = Arc::new(VerdictMemory::new(100));
        let cases = cases();
        let mut right = 0;
        for (index, (ours, original)) in (0..).zip(&cases) {
            let expected = with(None, original);
            right += usize::from(expected);
            assert_eq!(with(None, ours), expected, "case {index}");
            let ahead = with(Some(VerdictMemoryExt::fill(&memory)), ours);
            assert!(!ahead, "who runs ahead is told that it is wrong");
            assert_eq!(memory.asked(), index);
            let asked = with(Some(VerdictMemoryExt::ask(&memory)), ours);
            assert_eq!(asked, expected, "case {index}");
            assert_eq!(memory.known(), index + 1, "no verdict was found ahead");
        }
        assert_eq!((right, memory.len()), (4, 8));
    }

    #[test]
    fn what_was_asked_is_known_the_next_time() {
        let memory = Arc::new(VerdictMemory::new(100));
        for (ours, _) in &cases() {
            let [first, again] = [(); 2].map(|()| with(Some(VerdictMemoryExt::ask(&memory)), ours));
            assert_eq!(first, again);
        }
        assert_eq!((memory.asked(), memory.known()), (16, 8));
    }

    /// The two ways to verify ed25519 differ where keys are of small order.
    #[test]
    fn a_verdict_by_one_library_is_none_of_the_other() {
        let mut key = ed25519::Public::default();
        key.0 = [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10,
            0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77,
            0x92, 0xac, 0x03, 0x7a,
        ];
        let mut signature = ed25519::Signature::default();
        signature.0[0] = 1;
        let memory = Arc::new(VerdictMemory::new(1_000));
        let mut differing = 0;
        for message in 0..20_u8 {
            let verify = || crypto::ed25519_verify(&signature, &[message], &key);
            with(Some(VerdictMemoryExt::fill(&memory)), verify);
            let by_zebra = with(Some(VerdictMemoryExt::ask(&memory)), verify);
            let mut ext = TestExternalities::default();
            ext.register_extension(VerdictMemoryExt::ask(&memory));
            ext.register_extension(UseDalekExt);
            let by_dalek = ext.execute_with(verify);
            let mut ext = TestExternalities::default();
            ext.register_extension(UseDalekExt);
            let expected =
                ext.execute_with(|| sp_io::crypto::ed25519_verify(&signature, &[message], &key));
            assert_eq!(by_dalek, expected);
            differing += usize::from(by_zebra != by_dalek);
        }
        assert!(differing > 0, "the libraries agree, so this shows nothing");
    }

    #[test]
    fn the_oldest_verdicts_are_forgotten() {
        let memory = VerdictMemory::new(8);
        for number in 0..100_u8 {
            memory.put([number; 32], number % 2 == 0);
            assert!(memory.len() <= 8);
            assert_eq!(memory.get(&[number; 32]), Some(number % 2 == 0));
        }
        assert_eq!(memory.get(&[50; 32]), None);
        assert!(memory.get(&[97; 32]).is_some());
    }
}
