//! Transfers of runtimes made with FRAME, by their metadata.
//!
//! Invariant: an extension that is not known here adds nothing, or the runtime is refused.

use codec::{Compact, DecodeAll, Encode};
use frame_metadata::{RuntimeMetadata, RuntimeMetadataPrefixed, v14::RuntimeMetadataV14};
use scale_info::{PortableRegistry, Type, TypeDef, form::PortableForm};
use sp_core::H256;
use sp_version::RuntimeVersion;

use super::{TransferError, unsupported};
use crate::{
    guest::{Account, with_length},
    keys::Key,
};

/// The first byte of a signed extrinsic of format 4.
const SIGNED: u8 = 0x84;
const FORMAT: u8 = 4;

/// Payloads that are longer are signed by their hash.
const PAYLOAD_MAX: usize = 256;

/// The names of calls that transfer, the newer one first.
const CALLS: [&str; 2] = ["transfer_allow_death", "transfer"];

/// How a runtime wants transfers.
#[derive(Debug, Clone)]
pub(super) struct FrameTransfers {
    /// Pallet and call.
    call: [u8; 2],
    /// What goes before an account where an address is wanted: of the signer, and of who is sent to.
    signer: Vec<u8>,
    receiver: Vec<u8>,
    /// What goes before a signature.
    signature: Vec<u8>,
    extensions: Vec<Extension>,
    least: u128,
    spec_version: u32,
    transaction_version: u32,
    genesis: H256,
}

/// What an extension adds to an extrinsic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    SpecVersion,
    TransactionVersion,
    Genesis,
    Mortality,
    Nonce,
    Tip,
    TipInAsset,
    MetadataHash,
}

impl Extension {
    fn known(name: &str) -> Option<Self> {
        Some(match name {
            "CheckSpecVersion" => Self::SpecVersion,
            "CheckTxVersion" => Self::TransactionVersion,
            "CheckGenesis" => Self::Genesis,
            "CheckMortality" | "CheckEra" => Self::Mortality,
            "CheckNonce" => Self::Nonce,
            // The second wraps the first, and looks like it.
            "ChargeTransactionPayment" | "SkipCheckIfFeeless" => Self::Tip,
            "ChargeAssetTxPayment" => Self::TipInAsset,
            "CheckMetadataHash" => Self::MetadataHash,
            _ => return None,
        })
    }
}

/// Where the record of an account is.
pub(super) fn account_key(account: &Account) -> Vec<u8> {
    let map = [b"System".as_slice(), b"Account"].map(sp_crypto_hashing::twox_128);
    let hash = sp_crypto_hashing::blake2_128(account);
    [map.as_flattened(), &hash, account].concat()
}

impl FrameTransfers {
    /// As metadata and version say, on the chain with this genesis.
    pub(super) fn read(
        metadata: &[u8],
        version: &RuntimeVersion,
        genesis: H256,
    ) -> Result<Self, TransferError> {
        let metadata = decode(metadata)?;
        let types = &metadata.types;
        let format = metadata.extrinsic.version;
        if format != FORMAT {
            return unsupported(format!("extrinsics have format {format}, not {FORMAT}"));
        }
        let extrinsic = resolve(types, metadata.extrinsic.ty.id)?;
        let parameter = |name: &str| {
            let mut parameters = extrinsic.type_params.iter();
            let found = parameters.find(|parameter| parameter.name == name);
            match found.and_then(|parameter| parameter.ty) {
                Some(ty) => resolve(types, ty.id),
                None => unsupported(format!("extrinsics have no `{name}`")),
            }
        };
        let (call, receiver) = transfer_call(&metadata)?;
        Ok(Self {
            call,
            receiver: address(receiver)?,
            signer: address(parameter("Address")?)?,
            signature: signature(parameter("Signature")?)?,
            extensions: extensions(&metadata)?,
            least: least(&metadata)?,
            spec_version: version.spec_version,
            transaction_version: version.transaction_version,
            genesis,
        })
    }

    pub(super) fn least(&self) -> u128 {
        self.least
    }

    pub(super) fn transfer(&self, from: &Key, nonce: u32, to: &Account, amount: u128) -> Vec<u8> {
        let mut call = self.call.to_vec();
        call.extend(&self.receiver);
        call.extend(to);
        Compact(amount).encode_to(&mut call);
        let (mut explicit, mut implicit) = (Vec::new(), Vec::new());
        for extension in &self.extensions {
            match extension {
                Extension::SpecVersion => self.spec_version.encode_to(&mut implicit),
                Extension::TransactionVersion => self.transaction_version.encode_to(&mut implicit),
                Extension::Genesis => self.genesis.encode_to(&mut implicit),
                Extension::Mortality => {
                    explicit.push(0);
                    self.genesis.encode_to(&mut implicit);
                }
                Extension::Nonce => Compact(nonce).encode_to(&mut explicit),
                Extension::Tip => Compact(0_u128).encode_to(&mut explicit),
                Extension::TipInAsset => (Compact(0_u128), None::<()>).encode_to(&mut explicit),
                Extension::MetadataHash => {
                    explicit.push(0);
                    None::<()>.encode_to(&mut implicit);
                }
            }
        }
        let mut payload = [call.as_slice(), &explicit, &implicit].concat();
        if payload.len() > PAYLOAD_MAX {
            payload = sp_crypto_hashing::blake2_256(&payload).to_vec();
        }
        let signature = from.sign(&payload);
        with_length(
            &[
                &[SIGNED],
                self.signer.as_slice(),
                &from.account(),
                &self.signature,
                &signature,
                &explicit,
                &call,
            ]
            .concat(),
        )
    }
}

fn decode(metadata: &[u8]) -> Result<RuntimeMetadataV14, TransferError> {
    match RuntimeMetadataPrefixed::decode_all(&mut &*metadata) {
        Ok(RuntimeMetadataPrefixed(_, RuntimeMetadata::V14(metadata))) => Ok(metadata),
        Ok(RuntimeMetadataPrefixed(_, other)) => unsupported(format!(
            "it has version {}; 14, which runtimes tell since the end of 2021, is needed",
            other.version()
        )),
        Err(error) => unsupported(format!("it does not decode: {error}")),
    }
}

fn resolve(types: &PortableRegistry, id: u32) -> Result<&Type<PortableForm>, TransferError> {
    match types.resolve(id) {
        Some(found) => Ok(found),
        None => unsupported(format!("there is no type {id}")),
    }
}

/// Pallet and index of the call that transfers, and the type of whom it sends to.
fn transfer_call(
    metadata: &RuntimeMetadataV14,
) -> Result<([u8; 2], &Type<PortableForm>), TransferError> {
    let balances = metadata.pallets.iter().find(|it| it.name == "Balances");
    let Some((pallet, calls)) = balances.and_then(|it| Some((it.index, it.calls.as_ref()?))) else {
        return unsupported("there is no pallet `Balances` with calls");
    };
    let TypeDef::Variant(calls) = &resolve(&metadata.types, calls.ty.id)?.type_def else {
        return unsupported("the calls of `Balances` are no enumeration");
    };
    let named = |name: &&str| calls.variants.iter().find(|call| call.name == **name);
    let Some(call) = CALLS.iter().find_map(named) else {
        return unsupported(format!("`Balances` has none of the calls {CALLS:?}"));
    };
    let [receiver, amount] = call.fields.as_slice() else {
        return unsupported(format!("`{}` has not two arguments", call.name));
    };
    let amount = resolve(&metadata.types, amount.ty.id)?;
    if !matches!(amount.type_def, TypeDef::Compact(_)) {
        return unsupported(format!("the amount of `{}` is not compact", call.name));
    }
    let receiver = resolve(&metadata.types, receiver.ty.id)?;
    Ok(([pallet, call.index], receiver))
}

/// What goes before an account in an address of this type.
fn address(ty: &Type<PortableForm>) -> Result<Vec<u8>, TransferError> {
    match ty.path.segments.last().map(String::as_str) {
        Some("AccountId32") => Ok(Vec::new()),
        Some("MultiAddress") => Ok(vec![variant(ty, "Id")?]),
        _ => unsupported(format!("addresses are `{}`", ty.path)),
    }
}

/// What goes before an sr25519 signature.
fn signature(ty: &Type<PortableForm>) -> Result<Vec<u8>, TransferError> {
    match ty.path.segments.last().map(String::as_str) {
        Some("MultiSignature") => Ok(vec![variant(ty, "Sr25519")?]),
        _ => unsupported(format!("signatures are `{}`", ty.path)),
    }
}

/// The index of a variant.
fn variant(ty: &Type<PortableForm>, name: &str) -> Result<u8, TransferError> {
    if let TypeDef::Variant(definition) = &ty.type_def
        && let Some(found) = definition.variants.iter().find(|it| it.name == name)
    {
        return Ok(found.index);
    }
    unsupported(format!("`{}` has no variant `{name}`", ty.path))
}

fn extensions(metadata: &RuntimeMetadataV14) -> Result<Vec<Extension>, TransferError> {
    let mut known = Vec::new();
    for extension in &metadata.extrinsic.signed_extensions {
        match Extension::known(&extension.identifier) {
            Some(extension) => known.push(extension),
            None => {
                let parts = [extension.ty.id, extension.additional_signed.id];
                if !parts.iter().all(|id| is_empty(&metadata.types, *id)) {
                    let name = &extension.identifier;
                    return unsupported(format!("the extension `{name}` is not known"));
                }
            }
        }
    }
    Ok(known)
}

/// Whether values of this type have no bytes.
fn is_empty(types: &PortableRegistry, id: u32) -> bool {
    let Some(ty) = types.resolve(id) else {
        return false;
    };
    match &ty.type_def {
        TypeDef::Composite(composite) => {
            let mut fields = composite.fields.iter();
            fields.all(|field| is_empty(types, field.ty.id))
        }
        TypeDef::Tuple(tuple) => tuple.fields.iter().all(|field| is_empty(types, field.id)),
        _ => false,
    }
}

/// The existential deposit.
fn least(metadata: &RuntimeMetadataV14) -> Result<u128, TransferError> {
    let balances = metadata.pallets.iter().filter(|it| it.name == "Balances");
    let mut constants = balances.flat_map(|it| &it.constants);
    let Some(constant) = constants.find(|it| it.name == "ExistentialDeposit") else {
        return unsupported("there is no `ExistentialDeposit`");
    };
    let mut bytes = [0; size_of::<u128>()];
    match bytes.get_mut(..constant.value.len()) {
        Some(part) => part.copy_from_slice(&constant.value),
        None => return unsupported("`ExistentialDeposit` has more than sixteen bytes"),
    }
    Ok(u128::from_le_bytes(bytes))
}
