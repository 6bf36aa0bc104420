//! Rules of this repository that no compiler checks, over all files that git tracks.
//!
//! Each rule is one test; its message names every offending line and what to do about it. Sources are read
//! with [`code_of`], which blanks comments and literals, so that talking about a thing is not doing it.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use slackwater_runtime_fixtures::dir::workspace;

/// The longest function outside tests, in lines from `fn` to the closing brace.
const FUNCTION_LINES: usize = 100;
/// The longest Rust file, in lines.
const FILE_LINES: usize = 600;
/// Functions that may be longer: file, name, reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];
/// What runs in wasm: workspaces of their own, without a standard library, whose exports must be unsafe.
const GUESTS: [&str; 3] = [
    "runtime-fixtures/cases/",
    "runtime-fixtures/guest/",
    "runtime-fixtures/kernels/",
];
/// What a member takes from the workspace instead of saying it again.
const INHERITED: &[&str] = &[
    "version",
    "edition",
    "rust-version",
    "license",
    "publish",
    "[lints] workspace",
];

/// One tracked text file.
struct Source {
    /// From the root of the repository, with forward slashes.
    path: String,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.has_extension(&["rs"])
    }

    fn has_extension(&self, wanted: &[&str]) -> bool {
        let extension = Path::new(&self.path).extension().and_then(|it| it.to_str());
        extension.is_some_and(|it| wanted.contains(&it))
    }

    fn is_guest(&self) -> bool {
        GUESTS.iter().any(|guest| self.path.starts_with(guest))
    }

    /// Whether the whole file is test code: by its folder, or as the `tests` module of another file.
    fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| part == "tests" || part == "tests.rs")
    }

    /// The numbers, from 1, and texts of the lines.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.split('\n'))
    }

    fn line_at(&self, offset: usize) -> usize {
        line_at(&self.text, offset)
    }

    /// A complaint about a line, as terminals and editors follow it.
    fn at(&self, line: usize, complaint: &str) -> String {
        format!("{}:{line}: {complaint}", self.path)
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset]
        .iter()
        .filter(|&&byte| byte == b'\n')
        .count()
        + 1
}

/// The tracked files that exist and are text.
fn sources() -> Vec<Source> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(workspace())
        .output();
    let listed = listed.expect("git is installed: run `make setup`");
    assert!(
        listed.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&listed.stderr)
    );
    let listed = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    let paths = listed.split('\0').filter(|path| !path.is_empty());
    let read = |path: &str| {
        let text = std::fs::read_to_string(workspace().join(path)).ok()?;
        Some(Source {
            path: path.to_owned(),
            text,
        })
    };
    paths.filter_map(read).collect()
}

fn rust_sources() -> impl Iterator<Item = Source> {
    sources().into_iter().filter(Source::is_rust)
}

/// Fails with all complaints at once.
fn demand_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

/// The length of the comment or literal that `rest` begins with, and of its opening and closing marks.
fn literal(rest: &[u8]) -> Option<(usize, usize, usize)> {
    let until = |from: usize, mark: &[u8]| {
        let found = rest[from..].windows(mark.len()).position(|it| it == mark);
        found.map_or(rest.len(), |at| from + at + mark.len())
    };
    match rest {
        [b'/', b'/', ..] => Some((rest.split(|&byte| byte == b'\n').next()?.len(), 0, 0)),
        [b'/', b'*', ..] => Some((block_comment(rest), 0, 0)),
        [b'"', ..] => Some((quoted(rest), 1, 1)),
        [b'r', b'"' | b'#', ..] => {
            let hashes = rest[1..].iter().take_while(|&&byte| byte == b'#').count();
            let is_string = rest.get(1 + hashes) == Some(&b'"');
            let mark = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
            is_string.then(|| (until(2 + hashes, &mark), 2 + hashes, 1 + hashes))
        }
        [b'\'', b'\\', _, ..] => Some((until(3, b"'"), 1, 1)),
        [b'\'', byte, b'\'', ..] if byte.is_ascii() => Some((3, 1, 1)),
        // A lifetime has no closing quote within the four bytes that one character may take.
        [b'\'', byte, ..] if !byte.is_ascii() => Some((until(1, b"'"), 1, 1)),
        _ => None,
    }
}

/// The length of the block comment, with those nested in it.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the string, where a backslash hides the next byte.
fn quoted(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// The source with comments and the insides of literals blanked, byte for byte in place.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        // The `r` of `for` opens no raw string; that of `br"..."` and `cr"..."` does.
        let word = bytes[..at]
            .iter()
            .rev()
            .take_while(|&&byte| is_word(byte))
            .count();
        let in_word = bytes[at] == b'r' && !matches!(&bytes[at - word..at], b"" | b"b" | b"c");
        let Some((length, open, close)) = literal(&bytes[at..]).filter(|_| !in_word) else {
            at += 1;
            continue;
        };
        let end = (at + length).min(bytes.len());
        for byte in &mut code[at + open..end.saturating_sub(close).max(at + open)] {
            *byte = if *byte == b'\n' { b'\n' } else { b' ' };
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("what is not ASCII was inside a literal or a comment")
}

/// Where `word` stands in the code with no letter, digit or underscore on either side.
fn words<'code>(code: &'code str, word: &'code str) -> impl Iterator<Item = usize> + 'code {
    let bytes = code.as_bytes();
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| {
            let before = at > 0 && is_word(bytes[at - 1]);
            let after = bytes
                .get(at + word.len())
                .is_some_and(|&byte| is_word(byte));
            !before && !after
        })
}

/// The next braced block at or after `from`, unless a semicolon ends the item first.
fn block_after(code: &str, from: usize) -> Option<Range<usize>> {
    let (mut brackets, mut braces, mut open) = (0_i32, 0_i32, 0);
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' if braces == 0 => brackets += 1,
            b')' | b']' if braces == 0 => brackets -= 1,
            b';' if braces == 0 && brackets == 0 => return None,
            b'{' if brackets == 0 => {
                open = if braces == 0 { at } else { open };
                braces += 1;
            }
            b'}' if brackets == 0 => {
                braces -= 1;
                if braces == 0 {
                    return Some(open..at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

/// The named functions with a body: where `fn` stands, the name, where the body ends.
fn functions(code: &str) -> impl Iterator<Item = (usize, &str, usize)> {
    words(code, "fn").filter_map(|at| {
        let rest = code[at + 2..].trim_start();
        let name = rest
            .split(|it: char| !it.is_alphanumeric() && it != '_')
            .next()?;
        let body = block_after(code, at)?;
        (!name.is_empty()).then_some((at, name, body.end))
    })
}

/// The blocks behind `#[cfg(test)]`.
fn test_blocks(code: &str) -> Vec<Range<usize>> {
    let marks = code.match_indices("#[cfg(test)]");
    marks
        .filter_map(|(at, mark)| block_after(code, at + mark.len()))
        .collect()
}

/// The quoted strings of `key = [...]` in a manifest.
fn toml_list(text: &str, key: &str) -> Vec<String> {
    let opening = format!("\n{key} = [");
    let Some((_, rest)) = text.split_once(&opening) else {
        return Vec::new();
    };
    let list = rest.split(']').next().unwrap_or_default();
    list.split('"')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_rust_file_opens_with_a_header() {
    let bare = rust_sources().filter(|source| !source.text.starts_with("//! "));
    let complain = |it: Source| {
        it.at(
            1,
            "open the file with a `//!` header: what is in it, and why",
        )
    };
    demand_none(&bare.map(complain).collect::<Vec<_>>());
}

#[test]
fn unsafe_stands_only_where_the_architecture_says() {
    let text = std::fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap_or_default();
    let mut lines = text
        .lines()
        .skip_while(|line| !(line.starts_with('#') && line.contains("Unsafe")));
    let heading = lines.next();
    assert!(
        heading.is_some(),
        "ARCHITECTURE.md: write a heading with the word Unsafe and list the files under it"
    );
    let section = lines
        .take_while(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n");
    let quoted = section.split('`').skip(1).step_by(2);
    let listed: BTreeSet<_> = quoted
        .filter(|it| it.ends_with(".rs"))
        .map(str::to_owned)
        .collect();

    let mut complaints = Vec::new();
    let mut found = BTreeSet::new();
    for source in rust_sources().filter(|source| !source.is_guest()) {
        let code = code_of(&source.text);
        let Some(at) = words(&code, "unsafe").next() else {
            continue;
        };
        if !listed.contains(&source.path) {
            complaints.push(source.at(
                source.line_at(at),
                "move the unsafe code into a file that ARCHITECTURE.md lists under Unsafe, or list this one there",
            ));
        }
        found.insert(source.path);
    }
    for stale in listed.difference(&found) {
        complaints.push(format!(
            "ARCHITECTURE.md: `{stale}` is listed under Unsafe and has none; name files from the root, drop what is stale"
        ));
    }
    demand_none(&complaints);
}

#[test]
fn ignored_tests_say_why() {
    let mut complaints = Vec::new();
    for source in rust_sources() {
        let code = code_of(&source.text);
        for (at, mark) in code.match_indices("#[ignore") {
            let reason = source.text[at + mark.len()..]
                .trim_start()
                .strip_prefix('=')
                .map(str::trim_start);
            if !reason.is_some_and(|it| it.starts_with('"') && !it.starts_with("\"\"")) {
                complaints
                    .push(source.at(source.line_at(at), "give the reason: `#[ignore = \"...\"]`"));
            }
        }
    }
    demand_none(&complaints);
}

#[test]
fn nothing_is_left_unfinished() {
    let mut complaints = Vec::new();
    for source in rust_sources() {
        let code = code_of(&source.text);
        for name in ["todo!", "unimplemented!", "dbg!"] {
            let complaint = format!("finish this, or take it out: `{name}`");
            complaints
                .extend(words(&code, name).map(|at| source.at(source.line_at(at), &complaint)));
        }
    }
    demand_none(&complaints);
}

#[test]
fn functions_are_short() {
    let mut complaints = Vec::new();
    let mut excused = BTreeSet::new();
    for source in rust_sources().filter(|source| !source.is_test()) {
        let code = code_of(&source.text);
        let tests = test_blocks(&code);
        for (at, name, end) in functions(&code) {
            let length = line_at(&code, end) - line_at(&code, at) + 1;
            if length <= FUNCTION_LINES || tests.iter().any(|block| block.contains(&at)) {
                continue;
            }
            if LONG_FUNCTIONS
                .iter()
                .any(|&(file, long, _)| file == source.path && long == name)
            {
                excused.insert((source.path.clone(), name.to_owned()));
                continue;
            }
            let complaint =
                format!("split `{name}`: it has {length} lines, {FUNCTION_LINES} is the limit");
            complaints.push(source.at(source.line_at(at), &complaint));
        }
    }
    for &(file, name, _) in LONG_FUNCTIONS {
        if !excused.contains(&(file.to_owned(), name.to_owned())) {
            complaints.push(format!(
                "{file}: `{name}` needs no exception any more: take it off LONG_FUNCTIONS"
            ));
        }
    }
    demand_none(&complaints);
}

#[test]
fn files_are_short() {
    let mut complaints = Vec::new();
    for source in rust_sources() {
        let length = source.text.lines().count();
        if length > FILE_LINES {
            complaints.push(source.at(
                length,
                &format!("split the file: {FILE_LINES} lines is the limit"),
            ));
        }
    }
    demand_none(&complaints);
}

#[test]
fn no_file_names_a_folder_of_one_machine() {
    // Put together here, so that this file does not hold what it looks for.
    let folders = ["home", "root", "work", "Users"].map(|name| format!("/{name}/"));
    let mut complaints = Vec::new();
    for source in sources() {
        for folder in &folders {
            for (at, _) in source.text.match_indices(folder.as_str()) {
                let before = source.text[..at].chars().next_back().unwrap_or(' ');
                if !before.is_alphanumeric() && !"._-~/*}>)".contains(before) {
                    let complaint =
                        format!("`{folder}...` exists on one machine only: write a relative path");
                    complaints.push(source.at(source.line_at(at), &complaint));
                }
            }
        }
    }
    demand_none(&complaints);
}

/// The link without `.` and `..`, seen from the folder of `file`; nothing if it leaves the repository.
fn resolve(file: &str, link: &str) -> Option<String> {
    let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts = Vec::new();
    for part in folder.split('/').chain(link.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[test]
fn links_between_documents_lead_somewhere() {
    let sources = sources();
    let exists = |target: &str| {
        let folder = format!("{target}/");
        target.is_empty()
            || sources
                .iter()
                .any(|it| it.path == target || it.path.starts_with(&folder))
    };
    let mut complaints = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.has_extension(&["md"]))
    {
        let mut fenced = false;
        for (number, line) in source.lines() {
            fenced ^= line.trim_start().starts_with("```");
            for rest in line.split("](").skip(1).filter(|_| !fenced) {
                let link = rest.split([')', '#', ' ']).next().unwrap_or_default();
                if link.is_empty() || link.contains(':') {
                    continue;
                }
                if !resolve(&source.path, link).is_some_and(|target| exists(&target)) {
                    complaints.push(source.at(
                        number,
                        &format!("`{link}` leads to no tracked file: mend the link"),
                    ));
                }
            }
        }
    }
    demand_none(&complaints);
}

#[test]
fn every_crate_inherits_from_the_workspace() {
    let mut complaints = Vec::new();
    let is_member = |it: &Source| it.path.ends_with("/Cargo.toml") && !it.is_guest();
    for source in sources().into_iter().filter(is_member) {
        let flat = source.text.replace("[lints]\n", "[lints] ");
        for key in INHERITED {
            let wanted = [
                format!("\n{key}.workspace = true"),
                format!("\n{key} = true"),
            ];
            if !wanted.iter().any(|it| flat.contains(it.as_str())) {
                complaints.push(source.at(
                    1,
                    &format!("take `{key}` from the workspace: `workspace = true`"),
                ));
            }
        }
    }
    demand_none(&complaints);
}

#[test]
fn what_a_node_links_is_not_excluded_from_the_strict_licence_check() {
    let read =
        |path: &str| std::fs::read_to_string(workspace().join(path)).expect("the file is tracked");
    let excluded = toml_list(&read("deny.toml"), "exclude");
    let mut complaints = Vec::new();
    for member in toml_list(&read("Cargo.toml"), "default-members") {
        let manifest = read(&format!("{member}/Cargo.toml"));
        let is_it = |name: &&String| manifest.contains(&format!("\nname = \"{name}\"\n"));
        for name in excluded.iter().filter(is_it) {
            let complaint = format!("take `{name}` out of `exclude`: it is a default member");
            complaints.push(format!("deny.toml: {complaint}"));
        }
    }
    assert!(
        !excluded.is_empty(),
        "deny.toml: `exclude` is gone, or this test no longer finds it"
    );
    demand_none(&complaints);
}

#[test]
fn sources_are_plain_text() {
    let mut complaints = Vec::new();
    let written = |it: &Source| it.has_extension(&["rs", "toml", "sh", "md"]);
    for source in sources().into_iter().filter(written) {
        for (number, line) in source.lines() {
            let complaint = match line {
                _ if line.contains('\t') => "replace the tab by spaces",
                _ if line.ends_with([' ', '\r']) => "take out the space at the end of the line",
                _ if !line.is_ascii() && !source.has_extension(&["md"]) => {
                    "write it in ASCII, or as an escape"
                }
                _ => continue,
            };
            complaints.push(source.at(number, complaint));
        }
        if !source.text.is_empty() && !source.text.ends_with('\n') || source.text.ends_with("\n\n")
        {
            complaints.push(source.at(
                source.text.lines().count(),
                "end the file with exactly one newline",
            ));
        }
    }
    demand_none(&complaints);
}

#[test]
fn code_is_told_from_comments_and_literals() {
    let blanked = [
        ("a // unsafe\nb // x", "a          \nb     "),
        ("/* a /* b */ c */ d", "                  d"),
        (r#"f("unsafe \" {")"#, r#"f("           ")"#),
        ("r#\"{ \"x\" }\"# y", "r#\"       \"# y"),
        ("br\"\\\" for\"x\"", "br\" \" for\" \""),
        ("'{' '\\'' 'a fn", "' ' '  ' 'a fn"),
    ];
    for (text, code) in blanked {
        assert_eq!(code_of(text), code);
    }
}

#[test]
fn functions_are_measured() {
    let code = "fn a(x: [u8; 2]) {\n if x { y }\n}\nfn b();\ntype C = fn(u8);\nfn d() {}\n";
    let found: Vec<_> = functions(code)
        .map(|(at, name, end)| (line_at(code, at), name, line_at(code, end)))
        .collect();
    assert_eq!(found, [(1, "a", 3), (6, "d", 6)]);
}
