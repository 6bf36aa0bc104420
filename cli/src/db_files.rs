//! `slackwater db export` and `import`: the state of a database as one file, and a database of such a file.
//!
//! Invariant: a file that is written has its name only when it is whole and on the disk.

use std::{
    ffi::OsStr,
    fs::{File, Permissions},
    io::{Cursor, ErrorKind, Read},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use indicatif::ProgressBar;
use slackwater_executor::{
    ExecutionError, ExecutorConfig, WasmExecutor,
    block::{genesis_hash, state_version_of},
    host_functions::SlackwaterHostFunctions,
    state::{
        DatabaseConfig, Durability, Head, StateFile, StateFileError, StateFileStat, StateImport,
        StateImportStep, Verify,
    },
};
use slackwater_runtime_fixtures::chain_spec_stream::{
    ChainNames, SpecImportError, export_spec, import_spec,
};
use sp_core::storage::{
    StateVersion, Storage,
    well_known_keys::{CODE, PENDING_CODE},
};

use crate::{
    Verdict,
    args::{DbExportArgs, DbImportArgs, StateFormat},
    db::{KEYS_SHOWN, head_json, head_text, open, state},
    error::CliError,
    output::{print_json, progress_bar, say, thousands_u64},
};

const ENTRIES: &str = "{prefix} [{bar:32}] {pos} entries of about {len}";
const BYTES: &str = "{prefix} [{bar:32}] {bytes}/{total_bytes}, {eta} left";
const VALUES: &str = "{prefix} [{bar:32}] {pos}/{len} values, {eta} left";

/// Of a file that is told apart, so many bytes are looked at.
const SNIFFED_BYTES: u64 = 64;

pub(crate) fn export(args: &DbExportArgs, json: bool) -> Result<Verdict, CliError> {
    let is_spec = args.format == StateFormat::Spec;
    if !is_spec && (args.name.is_some() || args.id.is_some()) {
        return Err(CliError::NamesOfStateFile);
    }
    let database = open(&args.db)?;
    check_out(args)?;
    let view = match args.block {
        None => database.view().map_err(state(&args.db))?,
        Some(block) => database
            .view_at(block)
            .map_err(|source| CliError::History {
                path: args.db.clone(),
                source,
            })?,
    };
    let columns = database.stat().map_err(state(&args.db))?.columns;
    let columns = columns
        .iter()
        .filter(|column| column.name == "flat" || column.name == "nodes" && !is_spec);
    let bar = bar(
        json,
        "exporting",
        columns.map(|column| column.keys).sum(),
        ENTRIES,
    );
    let told = |entries: u64| tell(&bar, entries);
    let path = args.out.clone();
    let stat = write_whole(&args.out, args.force, |file| match args.format {
        StateFormat::StateFile => view
            .export(file, told)
            .map_err(|source| CliError::Export { path, source }),
        StateFormat::Spec => {
            let values = export_spec(&view, &names(args), file, told);
            let values = values.map_err(|source| CliError::SpecExport { path, source })?;
            Ok(StateFileStat {
                values,
                ..StateFileStat::default()
            })
        }
    })?;
    bar.finish_and_clear();
    let (head, values) = (view.head(), stat.values);
    if json {
        let mut report = serde_json::json!({
            "file": args.out,
            "format": args.format.name(),
            "head": head_json(head),
            "values": values,
        });
        if !is_spec {
            report["nodes"] = stat.nodes.into();
            report["bytes"] = stat.bytes.into();
        }
        print_json(&report)?;
    } else {
        say(head_text(head))?;
        let (values, out) = (thousands_u64(values), args.out.display());
        say(format!("{values} values written to {out}"))?;
    }
    Ok(Verdict::Good)
}

/// Refuses a file that must not be written, before anything is done.
fn check_out(args: &DbExportArgs) -> Result<(), CliError> {
    let folder = folder_of(&args.out).canonicalize();
    let folder = folder.map_err(|source| unwritable(&args.out, source))?;
    let database = args.db.canonicalize();
    let database = database.map_err(|source| unwritable(&args.db, source))?;
    if folder.starts_with(database) {
        return Err(CliError::OutInDatabase(args.out.clone()));
    }
    if !args.force && args.out.symlink_metadata().is_ok() {
        return Err(CliError::OutExists(args.out.clone()));
    }
    Ok(())
}

fn names(args: &DbExportArgs) -> ChainNames {
    let stem = || args.out.file_stem().unwrap_or_default().to_string_lossy();
    let name = args.name.clone();
    let name = name.unwrap_or_else(|| stem().into_owned());
    let plain = |letter: char| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() => letter,
        _ => '_',
    };
    let id = args.id.clone();
    ChainNames {
        id: id.unwrap_or_else(|| name.chars().map(plain).collect()),
        name,
    }
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent().filter(|folder| *folder != Path::new(""));
    folder.unwrap_or(Path::new("."))
}

fn unwritable(path: &Path, source: std::io::Error) -> CliError {
    CliError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Writes a file beside `out`, and gives it that name when it is on the disk.
fn write_whole<T>(
    out: &Path,
    force: bool,
    write: impl FnOnce(&mut File) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let failed = |source| unwritable(out, source);
    let name = out.file_name().unwrap_or(OsStr::new("state"));
    let mut prefix = name.to_owned();
    prefix.push(".");
    let mut partial = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(".partial")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder_of(out))
        .map_err(failed)?;
    let written = write(partial.as_file_mut())?;
    partial.as_file().sync_all().map_err(failed)?;
    let named = if force {
        partial.persist(out)
    } else {
        partial.persist_noclobber(out)
    };
    named.map_err(|error| match error.error.kind() {
        ErrorKind::AlreadyExists => CliError::OutExists(out.to_owned()),
        _ => failed(error.error),
    })?;
    let folder = File::open(folder_of(out)).and_then(|folder| folder.sync_all());
    folder.map_err(failed)?;
    Ok(written)
}

fn bar(json: bool, what: &str, length: u64, template: &str) -> ProgressBar {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    progress_bar(json, what, length, template)
}

fn tell(bar: &ProgressBar, entries: u64) {
    if entries.is_multiple_of(KEYS_SHOWN) {
        bar.set_position(entries);
    }
}

/// What an import has made.
struct Imported {
    head: Head,
    values: u64,
    state_version: Option<StateVersion>,
}

pub(crate) fn import(args: &DbImportArgs, json: bool) -> Result<Verdict, CliError> {
    let (format, length, input) = sniff(&args.file)?;
    let bar = bar(json, "reading", length, BYTES);
    let imported = match format {
        StateFormat::StateFile => import_state_file(args, json, bar.wrap_read(input)),
        StateFormat::Spec => import_chain_spec(args, json, bar.wrap_read(input)),
    };
    bar.finish_and_clear();
    let Imported {
        head,
        values,
        state_version,
    } = imported?;
    if json {
        let mut report = serde_json::json!({
            "file": args.file,
            "format": format.name(),
            "head": head_json(&head),
            "values": values,
        });
        match state_version {
            Some(version) => report["state_version"] = u8::from(version).into(),
            None => report["checked"] = (!args.no_check).into(),
        }
        print_json(&report)?;
    } else {
        say(head_text(&head))?;
        let (values, file) = (thousands_u64(values), args.file.display());
        say(format!("{values} values read from {file}"))?;
    }
    Ok(Verdict::Good)
}

/// What a file is, by how it begins; its length; and the file from its beginning.
fn sniff(path: &Path) -> Result<(StateFormat, u64, impl Read), CliError> {
    let unreadable = |source| CliError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut beginning = Vec::new();
    let mut first = (&mut file).take(SNIFFED_BYTES);
    first.read_to_end(&mut beginning).map_err(unreadable)?;
    let first = beginning.iter().find(|byte| !byte.is_ascii_whitespace());
    let format = match first {
        Some(b'{') => StateFormat::Spec,
        _ => StateFormat::StateFile,
    };
    Ok((format, length, Cursor::new(beginning).chain(file)))
}

fn config() -> DatabaseConfig {
    DatabaseConfig::new(Durability::Sync)
}

fn import_state_file(
    args: &DbImportArgs,
    json: bool,
    input: impl Read,
) -> Result<Imported, CliError> {
    let broken = |error| match error {
        StateFileError::Foreign => CliError::NoStateIn(args.file.clone()),
        StateFileError::Open(error) => error.into(),
        StateFileError::State(error) => state(&args.db)(error),
        error => CliError::StateFile {
            path: args.file.clone(),
            source: Box::new(error),
        },
    };
    let file = StateFile::open(input).map_err(broken)?;
    let head = *file.head();
    let verify = if args.no_check {
        Verify::Checksum
    } else {
        Verify::Values
    };
    let checking = bar(json, "checking", 0, VALUES);
    let imported = file.import(&args.db, config(), verify, |step| {
        if let StateImportStep::Compared { values, of } = step {
            checking.set_length(of);
            tell(&checking, values);
        }
    });
    checking.finish_and_clear();
    let (_database, stat) = imported.map_err(broken)?;
    Ok(Imported {
        head,
        values: stat.values,
        state_version: None,
    })
}

fn import_chain_spec(
    args: &DbImportArgs,
    json: bool,
    input: impl Read,
) -> Result<Imported, CliError> {
    let failed = state(&args.db);
    let mut import = StateImport::begin(&args.db, config())?;
    import_spec(&args.file, input, &mut import).map_err(|error| match error {
        SpecImportError::State(error) => failed(error),
        error => CliError::SpecImport(Box::new(error)),
    })?;
    let state_version = version_of(&mut import, &failed)?;
    let values = import.keys();
    let building = bar(json, "building", values, VALUES);
    let built = import.build_telling(state_version, |built| tell(&building, built));
    building.finish_and_clear();
    let state_root = built.map_err(failed)?;
    let head = Head {
        number: 0,
        hash: genesis_hash(state_root),
        state_root,
    };
    import.finish(head)?;
    Ok(Imported {
        head,
        values,
        state_version: Some(state_version),
    })
}

/// How the tries are built: what the runtime says that is among the values.
fn version_of(
    import: &mut StateImport,
    failed: &dyn Fn(slackwater_executor::state::StateError) -> CliError,
) -> Result<StateVersion, CliError> {
    let mut storage = Storage::default();
    for key in [CODE, PENDING_CODE] {
        if let Some(code) = import.value(key).map_err(failed)? {
            storage.top.insert(key.to_vec(), code);
        }
    }
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(ExecutorConfig::default())?;
    let version = state_version_of(&executor, &storage).map_err(ExecutionError::from)?;
    Ok(version)
}
