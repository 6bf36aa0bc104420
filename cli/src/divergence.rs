//! How a divergence is told: as JSON and for people.

use serde::Serialize;
use slackwater_executor::block::{Cause, Divergence, Step, Value};
use slackwater_runtime_fixtures::BlockFixture;
use sp_core::H256;

use crate::{
    error::CliError,
    output::{hex, say},
};

#[derive(Serialize)]
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
}

#[derive(Serialize)]
struct KeyReport {
    child: Option<String>,
    key: String,
    expected: ValueReport,
    computed: ValueReport,
}

#[derive(Serialize)]
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
            key: divergence.write.as_ref().map(|write| KeyReport {
                child: write.child.as_ref().map(hex),
                key: hex(&write.key),
                expected: (&write.expected).into(),
                computed: (&write.computed).into(),
            }),
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
    if let Some(expected) = &divergence.expected_root {
        say(format!("  state root expected  {expected}"))?;
    }
    if let Some(computed) = &divergence.computed_root {
        say(format!("  state root computed  {computed}{so_far}"))?;
    }
    if let Some(key) = &divergence.key {
        say(format!("  first differing key  {}{so_far}", key.key))?;
        if let Some(child) = &key.child {
            say(format!("  in child trie        {child}"))?;
        }
        say(format!("  value expected       {}", key.expected.shown()))?;
        say(format!("  value computed       {}", key.computed.shown()))?;
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
