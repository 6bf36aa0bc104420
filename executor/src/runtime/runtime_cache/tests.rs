//! The folder of compiled code: what is given out, what is refused, what goes.

use std::{
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use super::*;

const KEY: H256 = H256([7; 32]);

fn cache(folder: &Path) -> RuntimeCache {
    RuntimeCache::open(&RuntimeCacheConfig::new(folder)).expect("a cache")
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().expect("a folder");
    let path = parent.path().join("made").join("here");
    (parent, path)
}

#[test]
fn what_is_stored_is_found_by_the_next_process() {
    let (_parent, path) = folder();
    cache(&path).store(KEY, b"machine code");
    let next = cache(&path);
    assert_eq!(next.load(KEY).as_deref(), Some(&b"machine code"[..]));
    assert_eq!(next.counts().hits, 0, "nobody has used it yet");
    next.used();
    assert_eq!(next.load(H256([8; 32])), None);
    let counts = next.counts();
    assert_eq!((counts.hits, counts.misses, counts.refused), (1, 1, 0));
    let files = std::fs::read_dir(&path).expect("a folder").count();
    assert_eq!(files, 1, "nothing is left half written");
}

#[test]
fn a_file_with_any_byte_or_length_changed_is_refused() {
    let (_parent, path) = folder();
    let file = path.join(name(KEY));
    cache(&path).store(KEY, b"machine code");
    let whole = std::fs::read(&file).expect("stored");
    let refused = |bytes: &[u8], what: &str| {
        std::fs::write(&file, bytes).expect("written");
        let cache = cache(&path);
        assert_eq!(cache.load(KEY), None, "{what}");
        assert_eq!(cache.counts().refused, 1, "{what}");
        assert!(!file.exists(), "{what}");
    };
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            refused(&flipped, &format!("bit {bit} of byte {at}"));
        }
        refused(&whole[..at], &format!("cut to {at}"));
    }
    refused(&[&whole[..], &[0]].concat(), "one byte more");
    std::fs::write(&file, &whole).expect("written");
    assert!(cache(&path).load(KEY).is_some(), "the test would tell");
}

#[test]
fn a_file_under_another_name_is_refused() {
    let (_parent, path) = folder();
    let cache = cache(&path);
    cache.store(KEY, b"machine code");
    let other = H256([8; 32]);
    std::fs::rename(path.join(name(KEY)), path.join(name(other))).expect("renamed");
    assert_eq!(cache.load(other), None);
    assert_eq!(cache.counts().refused, 1);
}

#[test]
fn with_a_key_only_who_knows_it_can_store() {
    let (_parent, path) = folder();
    let keyed = |key| RuntimeCacheConfig::new(&path).with_key([key; 32]);
    let open = |config: &RuntimeCacheConfig| RuntimeCache::open(config).expect("a cache");
    open(&keyed(1)).store(KEY, b"machine code");
    assert!(open(&keyed(1)).load(KEY).is_some());
    for other in [keyed(2), RuntimeCacheConfig::new(&path)] {
        assert_eq!(open(&other).load(KEY), None);
        open(&keyed(1)).store(KEY, b"machine code");
    }
    assert!(!format!("{:?}", keyed(201)).contains("201"));
}

#[test]
fn a_folder_others_may_enter_is_refused() {
    let (_parent, path) = folder();
    let open = || RuntimeCache::open(&RuntimeCacheConfig::new(&path));
    open().expect("made");
    for mode in [0o701, 0o720, 0o777, 0o750] {
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("changed");
        let error = open().err().expect("refused");
        assert!(
            matches!(&error, RuntimeCacheError::NotPrivate { mode: found, .. } if *found == mode),
            "{error}"
        );
    }
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).expect("changed");
    open().expect("private");
    let file = path.join("file");
    std::fs::write(&file, "").expect("written");
    let error = RuntimeCache::open(&RuntimeCacheConfig::new(&file)).err();
    assert!(
        matches!(error, Some(RuntimeCacheError::Folder { .. })),
        "{error:?}"
    );
}

#[test]
fn files_that_are_not_ours_are_refused() {
    let (_parent, path) = folder();
    let file = path.join(name(KEY));
    let cache = cache(&path);
    cache.store(KEY, b"machine code");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o622)).expect("changed");
    assert_eq!(cache.load(KEY), None);
    cache.store(KEY, b"machine code");
    let elsewhere = path.join("elsewhere");
    std::fs::rename(&file, &elsewhere).expect("renamed");
    symlink(&elsewhere, &file).expect("linked");
    assert_eq!(cache.load(KEY), None);
    assert!(elsewhere.exists(), "only the link goes");
    std::fs::create_dir(&file).expect("a folder");
    assert_eq!(cache.load(KEY), None);
    assert_eq!(cache.counts().refused, 3);
}

#[test]
fn what_was_used_longest_ago_goes_first() {
    let (_parent, path) = folder();
    let bytes = vec![0; 1_000];
    let size = (bytes.len() + HEAD_BYTES) as u64;
    let config = RuntimeCacheConfig::new(&path).with_bytes_max(3 * size);
    let cache = RuntimeCache::open(&config).expect("a cache");
    let keys: Vec<_> = (0..4).map(|number| H256([number; 32])).collect();
    for key in &keys[..3] {
        cache.store(*key, &bytes);
        // Times of files are of some milliseconds.
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(cache.load(keys[0]).is_some());
    std::thread::sleep(Duration::from_millis(20));
    cache.store(keys[3], &bytes);
    let there: Vec<_> = keys.iter().map(|key| cache.load(*key).is_some()).collect();
    assert_eq!(there, [true, false, true, true]);
    assert_eq!(cache.counts().evicted, 1);
    cache.store(H256([9; 32]), &vec![0; 4_000]);
    assert_eq!(cache.load(H256([9; 32])), None, "more than all may have");
}

#[test]
fn what_was_left_half_written_is_in_nobodys_way() {
    let (_parent, path) = folder();
    let cache = cache(&path);
    // As of processes that were killed while they wrote, and had the identifier of this one.
    let left = |number: u64| {
        let process = std::process::id();
        path.join(format!("{}.{process}-{number}{TEMPORARY}", name(KEY)))
    };
    for number in 0..500 {
        std::fs::write(left(number), "half").expect("written");
    }
    cache.store(KEY, b"machine code");
    assert_eq!(cache.counts().stored, 1);
    assert!(cache.load(KEY).is_some());
    // Nobody finishes them after an hour.
    let old = SystemTime::UNIX_EPOCH;
    let file = File::options().write(true).open(left(7)).expect("there");
    file.set_modified(old).expect("set");
    RuntimeCache::open(&RuntimeCacheConfig::new(&path)).expect("a cache");
    assert!(!left(7).exists());
    assert!(left(8).exists(), "somebody may be writing it");
}

#[test]
fn a_folder_that_is_opened_to_others_is_not_used_any_more() {
    let (_parent, path) = folder();
    let cache = cache(&path);
    cache.store(KEY, b"machine code");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).expect("changed");
    assert_eq!(cache.load(KEY), None);
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).expect("changed");
    assert!(cache.load(KEY).is_some());
    assert_eq!(cache.counts().misses, 1);
}

#[test]
fn what_the_system_refuses_for_now_is_not_removed() {
    let passing = |error: NotTaken| matches!(error, NotTaken::Unreadable(_));
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::IO] {
        assert!(passing(errno.into()), "{errno}");
        assert!(passing(io::Error::from(errno).into()), "{errno}");
    }
    assert!(matches!(Errno::NOENT.into(), NotTaken::Absent));
    assert!(matches!(Errno::LOOP.into(), NotTaken::Refused(_)));
}

#[test]
fn what_is_too_much_goes_when_the_folder_is_opened() {
    let (_parent, path) = folder();
    let bytes = vec![0; 1_000];
    let size = (bytes.len() + HEAD_BYTES) as u64;
    for number in 0..4 {
        cache(&path).store(H256([number; 32]), &bytes);
    }
    let config = RuntimeCacheConfig::new(&path).with_bytes_max(2 * size);
    let smaller = RuntimeCache::open(&config).expect("a cache");
    assert_eq!(smaller.counts().evicted, 2);
    assert_eq!(std::fs::read_dir(&path).expect("a folder").count(), 2);
}

#[test]
fn what_cannot_be_kept_is_no_error() {
    let (_parent, path) = folder();
    let cache = cache(&path);
    std::fs::remove_dir(&path).expect("removed");
    cache.store(KEY, b"machine code");
    assert_eq!(cache.load(KEY), None);
    assert_eq!(cache.counts().stored, 0);
}
