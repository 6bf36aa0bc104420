//! `slackwater inspect`: what a runtime is, without running a block.

use serde::Serialize;
use slackwater_executor::{
    ExecutorConfig, RuntimeBlob, RuntimeError, WasmExecutor,
    host_functions::SlackwaterHostFunctions, runtime::ModuleFacts,
};

use crate::{
    Verdict,
    args::InspectArgs,
    error::CliError,
    output::{hex, print_json, say, table, thousands},
    source::read_code,
};

#[derive(Serialize)]
struct Report {
    code_hash: String,
    code_bytes: usize,
    unpacked_bytes: usize,
    compressed: bool,
    version: Version,
    apis: Vec<Api>,
    imports: Vec<String>,
    missing_host_functions: Vec<String>,
    exports: Vec<String>,
    functions: u32,
    table_elements: u64,
    data_bytes: usize,
    memory: Memory,
}

#[derive(Serialize)]
struct Version {
    spec_name: String,
    impl_name: String,
    spec_version: u32,
    impl_version: u32,
    authoring_version: u32,
    transaction_version: u32,
    system_version: u8,
    embedded: bool,
}

#[derive(Serialize)]
struct Api {
    id: String,
    version: u32,
}

#[derive(Serialize)]
struct Memory {
    initial_pages: u64,
    imported: bool,
}

pub(crate) fn run(args: &InspectArgs) -> Result<Verdict, CliError> {
    let code = read_code(&args.file)?;
    let report = report(&code).map_err(|source| CliError::Runtime {
        path: args.file.clone(),
        source,
    })?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&report)?;
    }
    Ok(Verdict::Good)
}

fn report(code: &[u8]) -> Result<Report, RuntimeError> {
    let config = ExecutorConfig::default();
    let blob = RuntimeBlob::new(code, config.code_bytes_max, config.profile)?;
    let facts: ModuleFacts = blob.facts()?;
    let embedded = blob.embedded_version()?.is_some();
    // An engine that cannot be set up would fail here as a compilation that does.
    let executor = WasmExecutor::<SlackwaterHostFunctions>::new(config).map_err(|error| {
        RuntimeError::Compile {
            reason: error.to_string(),
        }
    })?;
    let runtime = executor.runtime(code)?;
    let version = runtime.version();
    Ok(Report {
        code_hash: hex(runtime.code_hash()),
        code_bytes: blob.code_bytes(),
        unpacked_bytes: blob.wasm().len(),
        compressed: blob.code_bytes() != blob.wasm().len(),
        version: Version {
            spec_name: version.spec_name.to_string(),
            impl_name: version.impl_name.to_string(),
            spec_version: version.spec_version,
            impl_version: version.impl_version,
            authoring_version: version.authoring_version,
            transaction_version: version.transaction_version,
            system_version: version.system_version,
            embedded,
        },
        apis: version
            .apis
            .iter()
            .map(|(id, version)| Api {
                id: hex(id),
                version: *version,
            })
            .collect(),
        imports: facts.imports,
        missing_host_functions: runtime.missing_host_functions().to_vec(),
        exports: facts.exports,
        functions: facts.functions,
        table_elements: facts.table_elements,
        data_bytes: facts.data_bytes,
        memory: Memory {
            initial_pages: facts.memory_pages_initial,
            imported: facts.memory_imported,
        },
    })
}

fn print(report: &Report) -> Result<(), CliError> {
    let version = &report.version;
    let mut facts = table(["runtime", &version.spec_name]);
    let mut row = |name: &str, value: String| {
        facts.add_row([name.to_owned(), value]);
    };
    row("spec version", version.spec_version.to_string());
    row(
        "implementation",
        format!("{} {}", version.impl_name, version.impl_version),
    );
    row("authoring version", version.authoring_version.to_string());
    row(
        "transaction version",
        version.transaction_version.to_string(),
    );
    row("system version", version.system_version.to_string());
    row(
        "version read from",
        if version.embedded {
            "its sections"
        } else {
            "a call of Core_version"
        }
        .to_owned(),
    );
    row("code hash", report.code_hash.clone());
    let packed = if report.compressed {
        format!(" ({} compressed)", thousands(report.code_bytes))
    } else {
        String::new()
    };
    row(
        "code bytes",
        format!("{}{packed}", thousands(report.unpacked_bytes)),
    );
    row("functions", report.functions.to_string());
    row("table elements", report.table_elements.to_string());
    row("data bytes", thousands(report.data_bytes));
    row(
        "memory",
        format!(
            "{} pages, {}",
            report.memory.initial_pages,
            if report.memory.imported {
                "imported"
            } else {
                "its own"
            },
        ),
    );
    row("exports", report.exports.len().to_string());
    row("imports", report.imports.len().to_string());
    say(facts)?;

    let mut apis = table(["API", "version"]);
    for api in &report.apis {
        apis.add_row([api_name(&api.id), api.version.to_string()]);
    }
    say(apis)?;
    if report.missing_host_functions.is_empty() {
        say("Every imported host function is offered.")?;
    } else {
        say("Host functions this build does not offer (calling one traps):")?;
        for name in &report.missing_host_functions {
            say(format!("  {name}"))?;
        }
    }
    Ok(())
}

/// The trait name behind an API identifier, for those most runtimes have.
fn api_name(id: &str) -> String {
    const NAMES: [&str; 20] = [
        "Core",
        "Metadata",
        "BlockBuilder",
        "TaggedTransactionQueue",
        "OffchainWorkerApi",
        "SessionKeys",
        "AccountNonceApi",
        "TransactionPaymentApi",
        "TransactionPaymentCallApi",
        "AuraApi",
        "BabeApi",
        "GrandpaApi",
        "BeefyApi",
        "MmrApi",
        "ParachainHost",
        "AuthorityDiscoveryApi",
        "NominationPoolsApi",
        "StakingApi",
        "ContractsApi",
        "GenesisBuilder",
    ];
    NAMES
        .iter()
        .find(|name| hex(sp_crypto_hashing::blake2_64(name.as_bytes())) == id)
        .map_or_else(|| id.to_owned(), |name| format!("{name} ({id})"))
}
