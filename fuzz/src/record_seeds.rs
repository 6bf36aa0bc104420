//! Inputs to begin with, for files of records: small ones of every form, made of our own types and our short chain.

use codec::Encode;
use slackwater_executor::{
    Block,
    block::FuelReceipt,
    recording::{
        RecordedBlock, RecordedCall, RecordedExtrinsic, RecordedOutcome, RecordingHead,
        RecordingWriter, Rules, Spliced, Writes,
    },
    state::Head,
};
use slackwater_runtime_fixtures::{
    BlockFixture, block_fixture::changes_path, dir::workspace, hexadecimal,
};
use sp_core::{H256, storage::well_known_keys::CODE};

use crate::{record_file::Form, scratch};

/// Inputs to begin with.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new(), vec![0]];
    recordings(&mut seeds);
    fixtures(&mut seeds);
    seeds
}

fn call(name: &str, writes: Writes) -> RecordedCall {
    RecordedCall {
        outcome: RecordedOutcome {
            name: name.to_owned(),
            error: (name != "returned").then(|| vec![3, 7, 0]),
        },
        fuel: Some(FuelReceipt {
            wasm: 70_000,
            size: 12,
            host: 345,
        }),
        writes,
    }
}

fn block(number: u64) -> RecordedBlock {
    let kept = Spliced::Kept {
        head: vec![8],
        from: 1,
        length: 40,
        tail: vec![1, 2, 3],
    };
    let child = (Some(b"child".to_vec()), b"key".to_vec());
    let writes = vec![
        ((None, b"events".to_vec()), kept),
        ((None, b"gone".to_vec()), Spliced::Removed),
        (child, Spliced::Whole(vec![7; 40])),
    ];
    let listed = Writes::Listed(writes);
    RecordedBlock {
        number,
        hash: H256::repeat_byte(1),
        code: H256::repeat_byte(2),
        state_version: 1,
        initialize: call("returned", Writes::Listed(vec![])),
        extrinsics: vec![
            RecordedExtrinsic {
                hash: H256::repeat_byte(3),
                call: call("applied", listed.clone()),
            },
            RecordedExtrinsic {
                hash: H256::repeat_byte(4),
                call: call("dispatch-error", Writes::Listed(vec![])),
            },
        ],
        finalize: Some(call("returned", listed)),
        rest: Writes::Listed(vec![]),
        state_root: H256::repeat_byte(5),
    }
}

fn recordings(seeds: &mut Vec<Vec<u8>>) {
    for (digest_only, blocks) in [(false, 0), (false, 2), (true, 2)] {
        let parent = Head {
            number: 6,
            hash: H256::repeat_byte(6),
            state_root: H256::repeat_byte(7),
        };
        let rules = Rules {
            schedule: Some(H256::repeat_byte(8)),
            fuel_rules: None,
            canonical_nans: true,
            extended_profile: false,
            heap: (true, Some(2_048)),
            heap_of_state_ignored: false,
        };
        let head = RecordingHead {
            name: "seed".to_owned(),
            rules,
            parent,
            digest_only,
        };
        let blocks: Vec<_> = (7..7 + blocks)
            .map(block)
            .map(|block| match digest_only {
                true => block.digested(),
                false => block,
            })
            .collect();
        let path = scratch::path("seed");
        let mut writer = RecordingWriter::create(&path, &head).expect("begins");
        let mut frames = frame(1, &head.encode());
        for block in &blocks {
            writer.add(block).expect("written");
            frames.extend(frame(2, &block.encode()));
        }
        writer.finish().expect("finished");
        let file = std::fs::read(&path).expect("readable");
        seeds.push(Form::Recording.input(&file));
        seeds.push(Form::Mended.input(&file));
        seeds.push(Form::Frames.input(&frames));
    }
}

fn frame(kind: u8, plain: &[u8]) -> Vec<u8> {
    let length = u16::try_from(plain.len()).expect("small").to_le_bytes();
    [&[kind], &length[..], plain].concat()
}

/// The short chain, with something short for its code and few blocks.
fn fixtures(seeds: &mut Vec<Vec<u8>>) {
    let chain = "runtime-fixtures/tests/fixtures/short-chain.json";
    let mut fixture = BlockFixture::load(&workspace().join(chain)).expect("our short chain");
    fixture.state.top.insert(CODE.to_vec(), vec![0; 3]);
    fixture.blocks.truncate(2);
    for block in &mut fixture.blocks {
        block.body.truncate(3);
        block.refused.truncate(1);
        if let Some(list) = &mut block.offered {
            list.truncate(3);
        }
        if let Some(writes) = &mut block.expected_writes {
            writes.truncate(4);
        }
    }
    let path = scratch::path("seed.json");
    fixture.save(&path).expect("saved");
    let json = std::fs::read(&path).expect("readable");
    let changes = std::fs::read(changes_path(&path)).expect("readable");
    seeds.push(Form::Fixture.input(&json));
    seeds.push(Form::FixtureWithWrites.input(&[&json[..], &[0], &changes].concat()));
    for text in [
        r#"{"name":"n","state":{"0x3a636f6465":"0x00"},"blocks":[]}"#,
        r#"{"name":"n","state":{"0x3a636f6465":"0x00"},"children":{"0x61":{"0x01":"0x"}},"state_version":1,
"parent_state_root":"0x0000000000000000000000000000000000000000000000000000000000000000","blocks":[{}]}"#,
    ] {
        seeds.push(Form::Fixture.input(text.as_bytes()));
    }
    let decoded = fixture.blocks.into_iter().map(|block| {
        let decoded = Block::decode(&block.header, block.body);
        decoded.expect("a block of our short chain")
    });
    blocks(seeds, &decoded.collect::<Vec<_>>());
}

fn blocks(seeds: &mut Vec<Vec<u8>>, blocks: &[Block]) {
    let line = |block: &Block| hexadecimal::encode(&block.encoded()) + "\n";
    let mut text: String = blocks.iter().map(line).collect();
    text.push_str("# a comment\n\n");
    // No justifications, and one.
    let first = hexadecimal::encode(&blocks[0].encoded());
    let justified = [*b"test"].map(|engine| (engine, vec![9_u8; 3]));
    for behind in [None, Some(justified.to_vec())] {
        text.push_str(&first);
        text.push_str(&hexadecimal::encode(&behind.encode())[2..]);
        text.push('\n');
    }
    seeds.push(Form::Blocks.input(text.as_bytes()));
    let answers: Vec<_> = blocks.iter().map(answer).collect();
    seeds.push(Form::Blocks.input(answers.join("\n").as_bytes()));
    seeds.push(Form::Blocks.input(format!("[{}]", answers.join(",")).as_bytes()));
    seeds.push(Form::Blocks.input(br#"{"jsonrpc":"2.0","id":1,"error":{"code":-1}}"#));
}

/// What a node answers.
fn answer(block: &Block) -> String {
    let hex = |bytes: &[u8]| format!("\"{}\"", hexadecimal::encode(bytes));
    let header = &block.header;
    let logs: Vec<_> = header
        .digest
        .logs
        .iter()
        .map(|log| hex(&log.encode()))
        .collect();
    let extrinsics: Vec<_> = block.extrinsics.iter().map(|bytes| hex(bytes)).collect();
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"result":{{"justifications":null,"block":{{"extrinsics":[{}],"header":{{
"parentHash":{},"number":"{:#x}","stateRoot":{},"extrinsicsRoot":{},"digest":{{"logs":[{}]}}}}}}}}}}"#,
        extrinsics.join(","),
        hex(header.parent_hash.as_bytes()),
        header.number,
        hex(header.state_root.as_bytes()),
        hex(header.extrinsics_root.as_bytes()),
        logs.join(","),
    )
}
