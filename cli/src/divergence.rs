//! How a divergence is told: as JSON and for people.

use std::path::PathBuf;

use serde::Serialize;
use slackwater_executor::{
    block::{Cause, Divergence, Step, Value, WriteDifference},
    recording::Mismatch,
};
use slackwater_runtime_fixtures::{BlockFixture, StateNames};
use sp_core::H256;

use crate::{
    error::CliError,
    output::{hex, say},
};

#[derive(Debug, Clone, Serialize)]
pub(crate) struct DivergenceReport {
    pub(crate) block: u64,
    step: String,
    message: String,
    /// Whether execution broke off, so that root and key are those of a block half done.
    partial: bool,
    expected_root: Option<String>,
    computed_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyReport>,
    /// What each side of the comparison is called.
    #[serde(skip)]
    expected_is: &'static str,
    /// Where both sides were written.
    files: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct KeyReport {
    child: Option<String>,
    key: String,
    /// What the runtime calls the key.
    name: Option<String>,
    expected: ValueReport,
    computed: ValueReport,
    /// The same, taken apart.
    expected_decoded: Option<String>,
    computed_decoded: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(tag = "write", content = "value", rename_all = "snake_case")]
enum ValueReport {
    Untouched,
    Deleted,
    Present(String),
}

impl DivergenceReport {
    /// `fixture` states the root that the block should have.
    pub(crate) fn new(divergence: &Divergence, fixture: &BlockFixture) -> Self {
        let mut stated = fixture.blocks.iter();
        let stated = stated.find(|block| block.number == divergence.block);
        let stated = stated.map(|block| H256(block.state_root));
        // Which root the parent state should have is known only where the fixture states it.
        let expected = match &divergence.cause {
            Cause::StateRoot { expected, .. } => Some(*expected),
            _ if divergence.step == Step::ParentState => None,
            _ => stated,
        };
        Self {
            block: divergence.block,
            step: divergence.step.to_string(),
            message: divergence.cause.to_string(),
            partial: divergence.is_partial(),
            expected_root: expected.map(hex),
            computed_root: divergence.computed_root().map(hex),
            key: (divergence.write.as_ref())
                .map(|write| KeyReport::new(write, &StateNames::default())),
            expected_is: "expected",
            files: Vec::new(),
        }
    }

    /// Of a block that is not as it was recorded.
    pub(crate) fn of_mismatch(
        mismatch: &Mismatch,
        names: &StateNames,
        files: Vec<PathBuf>,
    ) -> Self {
        let computed = mismatch
            .computed
            .as_ref()
            .filter(|it| !it.state_root.is_zero());
        Self {
            block: mismatch.block,
            step: mismatch.part.to_string(),
            message: mismatch.difference.to_string(),
            partial: false,
            expected_root: Some(hex(mismatch.recorded.state_root)),
            computed_root: computed.map(|block| hex(block.state_root)),
            key: (mismatch.key.as_ref()).map(|write| KeyReport::new(write, names)),
            expected_is: "recorded",
            files: files
                .iter()
                .map(|file| file.display().to_string())
                .collect(),
        }
    }
}

impl KeyReport {
    fn new(write: &WriteDifference, names: &StateNames) -> Self {
        // Names are of the top trie.
        let names = write.child.is_none().then_some(names);
        let decoded = |value: &Value| match value {
            Value::Present(value) => names?.value(&write.key, value),
            Value::Untouched | Value::Deleted => None,
        };
        Self {
            child: write.child.as_ref().map(hex),
            key: hex(&write.key),
            name: names.and_then(|names| names.key(&write.key)),
            expected: (&write.expected).into(),
            computed: (&write.computed).into(),
            expected_decoded: decoded(&write.expected),
            computed_decoded: decoded(&write.computed),
        }
    }
}

impl From<&Value> for ValueReport {
    fn from(value: &Value) -> Self {
        match value {
            Value::Untouched => Self::Untouched,
            Value::Deleted => Self::Deleted,
            Value::Present(value) => Self::Present(hex(value)),
        }
    }
}

/// Prints it for people.
pub(crate) fn print_divergence(
    fixture: &str,
    divergence: &DivergenceReport,
) -> Result<(), CliError> {
    say(format!(
        "\n{fixture} diverges at block {}, {}:",
        divergence.block, divergence.step
    ))?;
    say(format!("  {}", divergence.message))?;
    let so_far = if divergence.partial { " (so far)" } else { "" };
    let expected_is = divergence.expected_is;
    if let Some(expected) = &divergence.expected_root {
        say(format!("  state root {expected_is:<9} {expected}"))?;
    }
    if let Some(computed) = &divergence.computed_root {
        say(format!("  state root computed  {computed}{so_far}"))?;
    }
    if let Some(key) = &divergence.key {
        say(format!("  first differing key  {}{so_far}", key.key))?;
        if let Some(name) = &key.name {
            say(format!("  which is             {name}"))?;
        }
        if let Some(child) = &key.child {
            say(format!("  in child trie        {child}"))?;
        }
        say(format!(
            "  value {expected_is:<14} {}",
            key.expected.shown()
        ))?;
        if let Some(decoded) = &key.expected_decoded {
            say(format!("    taken apart        {decoded}"))?;
        }
        say(format!("  value computed       {}", key.computed.shown()))?;
        if let Some(decoded) = &key.computed_decoded {
            say(format!("    taken apart        {decoded}"))?;
        }
    }
    for file in &divergence.files {
        say(format!("  written to           {file}"))?;
    }
    Ok(())
}

impl ValueReport {
    fn shown(&self) -> &str {
        match self {
            Self::Untouched => "(not written)",
            Self::Deleted => "(deleted)",
            Self::Present(value) => value,
        }
    }
}
