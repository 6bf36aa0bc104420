//! Host functions on the state: reading, writing, walking keys, roots, child tries.
//!
//! Invariant: whatever is written lies in a layer that is rolled back, so that the changes of a call
//! are not what takes time. The state is in memory: what a disk adds is not measured here.

use super::{
    super::guest::repeated, CHILD, KEY, KEY_BYTES, KEYS, LARGE, LARGE_BYTES, LARGE_RESULTS_MAX,
    NUMBER, Price, Row, VALUE, VALUE_BYTES, call, fat, thin,
};

/// All rows.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = reading();
    rows.extend(writing());
    rows.extend(walking());
    rows.extend(children());
    rows
}

fn the_key() -> String {
    fat(KEY, KEY_BYTES)
}

fn the_value() -> String {
    fat(VALUE, VALUE_BYTES)
}

/// Makes the key another one of [`KEYS`].
fn next_number() -> String {
    format!(
        "(i64.store (i32.const {NUMBER}) (i64.extend_i32_u (i32.and (local.get $rounds)
            (i32.const {}))))",
        KEYS - 1
    )
}

/// Opens a layer, and makes a value of about 16 MiB in it: a little more, so that there is room behind it.
fn appended() -> String {
    let append = call("storage_append", &(the_key() + &fat(LARGE, LARGE_BYTES)));
    call("storage_start_transaction", "") + &repeated(260, &append)
}

/// Opens a layer, and writes [`KEYS`] keys in it.
fn changed_keys() -> String {
    let number = format!("(i64.store (i32.const {NUMBER}) (i64.extend_i32_u (local.get $count)))");
    let set = call("storage_set", &(the_key() + &the_value()));
    format!(
        "{} {}",
        call("storage_start_transaction", ""),
        repeated(KEYS, &(number + &set))
    )
}

fn reading() -> Vec<Row> {
    let key = the_key();
    let number = next_number();
    let large_value = call("storage_start_transaction", "")
        + &call("storage_set", &(key.clone() + &fat(LARGE, LARGE_BYTES)));
    let read = |bytes| key.clone() + &fat(LARGE, bytes) + &thin(0);
    vec![
        Row::new("storage_get", "no such key", &key),
        Row::doing(
            "storage_get",
            "of the state",
            &(number.clone() + &call("storage_get", &key)),
        )
        .on_keys(),
        Row::new("storage_get", "64 KiB", &key)
            .after(&large_value)
            .tests(Price::Returned(LARGE_BYTES))
            .at_most(LARGE_RESULTS_MAX),
        Row::new("storage_read", "32 bytes of 32", &read(32)).on_keys(),
        Row::new("storage_read", "32 bytes of 64 KiB", &read(32)).after(&large_value),
        Row::new("storage_read", "32 bytes of 16 MiB", &read(32)).after(&appended()),
        Row::new("storage_read", "64 KiB", &read(LARGE_BYTES))
            .after(&large_value)
            .tests(Price::Passed(LARGE_BYTES)),
        Row::doing(
            "storage_exists",
            "of the state",
            &(number + &call("storage_exists", &key)),
        )
        .on_keys(),
        Row::new("storage_exists", "64 KiB", &key).after(&large_value),
    ]
}

fn writing() -> Vec<Row> {
    let (key, value) = (the_key(), the_value());
    let start = call("storage_start_transaction", "");
    let rollback = call("storage_rollback_transaction", "");
    let commit = call("storage_commit_transaction", "");
    let set = call("storage_set", &(key.clone() + &value));
    let other_key =
        format!("(i64.store (i32.const {NUMBER}) (i64.extend_i32_u (local.get $rounds)))");
    let large = key.clone() + &fat(LARGE, LARGE_BYTES);
    let append = key.clone() + &value;
    vec![
        Row::new("storage_set", "the same key", &append).after(&start),
        Row::doing("storage_set", "another key", &(other_key + &set)).after(&start),
        Row::new("storage_set", "64 KiB", &large)
            .after(&start)
            .tests(Price::Passed(LARGE_BYTES)),
        Row::doing(
            "storage_clear",
            "of the state",
            &(next_number() + &call("storage_clear", &key)),
        )
        .after(&start)
        .on_keys(),
        Row::new("storage_append", "32 bytes", &append).after(&start),
        Row::new("storage_append", "64 KiB", &large)
            .after(&start)
            .tests(Price::Passed(LARGE_BYTES))
            .at_most(1_000),
        Row::doing(
            "storage_append",
            "to 16 MiB, in a layer rolled back",
            &(start.clone() + &call("storage_append", &append) + &rollback),
        )
        .after(&appended()),
        Row::doing(
            "storage_start_transaction",
            "and rolled back",
            &(start.clone() + &rollback),
        ),
        Row::doing(
            "storage_rollback_transaction",
            "of one key",
            &(start.clone() + &set + &rollback),
        ),
        Row::doing(
            "storage_commit_transaction",
            "of 16 layers, one key",
            &(start.repeat(16) + &set + &commit.repeat(16)),
        )
        .after(&start),
        Row::doing(
            "storage_commit_transaction",
            "of one key",
            &(start.clone() + &set + &commit),
        )
        .after(&start),
    ]
}

/// Keys stepped over, and roots.
fn walking() -> Vec<Row> {
    let key = the_key();
    let prefix = fat(KEY, 24);
    let start = call("storage_start_transaction", "");
    let rollback = call("storage_rollback_transaction", "");
    let clear_all = call("storage_clear_prefix", &prefix);
    let set = call("storage_set", &(the_key() + &the_value()));
    let change = format!("(i32.store (i32.const {VALUE}) (local.get $rounds)) {set}");
    let root = call("storage_root", "");
    vec![
        Row::doing(
            "storage_next_key",
            "of the state",
            &(next_number() + &call("storage_next_key", &key)),
        )
        .on_keys(),
        Row::new("storage_next_key", "behind 4,096 removed, each", &prefix)
            .after(&(start.clone() + &clear_all))
            .on_keys()
            .each_of(KEYS)
            .tests(Price::Other("state walked")),
        Row::new(
            "storage_next_key",
            "behind 4,096 removed in layers, each",
            &prefix,
        )
        .after(&(changed_keys() + &clear_all))
        .each_of(KEYS)
        .tests(Price::Other("state changed")),
        Row::new("storage_clear_prefix", "of nothing", &prefix).after(&start),
        Row::doing(
            "storage_clear_prefix",
            "4,096 keys, each",
            &(start.clone() + &clear_all + &rollback),
        )
        .on_keys()
        .each_of(KEYS)
        .tests(Price::Other("state walked")),
        Row::new(
            "storage_clear_prefix",
            "4,096 keys of layers, each",
            &prefix,
        )
        .after(&changed_keys())
        .each_of(KEYS)
        .tests(Price::Other("state changed")),
        Row::new(
            "storage_clear_prefix",
            "4,096 other keys, each",
            &fat(VALUE, 8),
        )
        .after(&changed_keys())
        .each_of(KEYS)
        .tests(Price::Other("state changed")),
        Row::doing("storage_root", "one key changed", &(change.clone() + &root))
            .after(&start)
            .on_keys(),
        Row::new("storage_root", "unchanged", "").after(&(start + &change + &root)),
        Row::doing(
            "storage_root",
            "4,096 keys changed, each",
            &(change + &root),
        )
        .after(&changed_keys())
        .on_keys()
        .each_of(KEYS)
        .tests(Price::Other("state rooted")),
    ]
}

/// Opens a layer, and writes a key in each of 64 child tries.
fn changed_children() -> String {
    let name = format!("(i32.store8 (i32.const {CHILD}) (local.get $count))");
    let pair = fat(CHILD, 5) + &the_key() + &the_value();
    call("storage_start_transaction", "")
        + &repeated(64, &(name + &call("default_child_storage_set", &pair)))
}

fn children() -> Vec<Row> {
    let child = fat(CHILD, 5);
    let child_key = child.clone() + &the_key();
    let pair = child_key.clone() + &the_value();
    let start = call("storage_start_transaction", "");
    let set = call("default_child_storage_set", &pair);
    let begin = start.clone() + &set;
    let root = call("default_child_storage_root", &child);
    vec![
        Row::new("default_child_storage_get", "", &child_key).after(&begin),
        Row::new(
            "default_child_storage_read",
            "32 bytes",
            &(child_key.clone() + &fat(LARGE, 32) + &thin(0)),
        )
        .after(&begin),
        Row::new("default_child_storage_exists", "", &child_key).after(&begin),
        Row::new("default_child_storage_set", "", &pair).after(&start),
        Row::new("default_child_storage_clear", "", &child_key).after(&begin),
        Row::new("default_child_storage_next_key", "", &child_key).after(&begin),
        Row::new("default_child_storage_clear_prefix", "", &child_key).after(&begin),
        Row::new("default_child_storage_storage_kill", "", &child).after(&begin),
        Row::doing(
            "storage_start_transaction",
            "and rolled back, 64 child tries, each",
            &(start.clone() + &call("storage_rollback_transaction", "")),
        )
        .after(&changed_children())
        .each_of(64)
        .tests(Price::Other("state changed")),
        Row::doing(
            "default_child_storage_root",
            "one key changed",
            &(set + &root),
        )
        .after(&begin),
    ]
}
