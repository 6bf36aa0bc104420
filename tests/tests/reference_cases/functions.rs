//! Host functions of a node's own, beside those of the set.

use codec::Encode;
use slackwater_executor::host_functions::{
    ExtendedHostFunctions, HostFunctions, SlackwaterHostFunctions, StandardHostFunctions,
};
use sp_core::traits::WrappedRuntimeCode;
use sp_wasm_interface::{
    Function, FunctionContext, HostFunctionRegistry, Signature, Value, ValueType,
};

use super::{
    case::{BUILD, Settings, externalities, runtime_code},
    machine::{Outcome, with_functions},
    modules,
};

const NAME: &str = "ext_cases_double_version_1";

/// A set of one function.
struct Cases;

/// Twice as much.
struct Double;

fn double(value: u32) -> u32 {
    value.wrapping_mul(2)
}

impl Function for Double {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> Signature {
        Signature::new(vec![ValueType::I32], Some(ValueType::I32))
    }

    fn execute(
        &self,
        _: &mut dyn FunctionContext,
        arguments: &mut dyn Iterator<Item = Value>,
    ) -> sp_wasm_interface::Result<Option<Value>> {
        match arguments.next() {
            Some(Value::I32(value)) => {
                let doubled = double(value.cast_unsigned());
                Ok(Some(Value::I32(doubled.cast_signed())))
            }
            other => Err(format!("{other:?} is no number")),
        }
    }
}

impl HostFunctions for Cases {
    fn host_functions() -> Vec<&'static dyn Function> {
        vec![&Double]
    }

    fn register_static<T: HostFunctionRegistry>(registry: &mut T) -> Result<(), T::Error> {
        registry.register_static(NAME, double)
    }
}

#[test]
fn functions_beside_the_set_are_listed_and_called() {
    type Beside<H> = ExtendedHostFunctions<H, Cases>;
    let listed = |functions: Vec<&'static dyn Function>| {
        let named = functions.iter().filter(|function| function.name() == NAME);
        named.count()
    };
    assert_eq!(listed(SlackwaterHostFunctions::host_functions()), 0);
    assert_eq!(
        listed(Beside::<SlackwaterHostFunctions>::host_functions()),
        1
    );
    type Twice = ExtendedHostFunctions<SlackwaterHostFunctions, (Cases, Cases)>;
    assert_eq!(listed(Twice::host_functions()), 2);

    let module = modules::doubling(NAME);
    let code = WrappedRuntimeCode(module.as_slice().into());
    let code = runtime_code(&module, &code);
    let machines = with_functions::<Beside<SlackwaterHostFunctions>, Beside<StandardHostFunctions>>(
        &Settings::default(),
    );
    for machine in machines {
        let call = ("main", &21_u32.encode()[..]);
        let outcome = machine.call(&mut externalities(&[]).ext(), &code, call, BUILD);
        let right = matches!(&outcome, Outcome::Output(output) if *output == 42_u32.encode());
        assert!(right, "{}: {outcome:?}", machine.name);
    }
}

#[test]
fn a_set_of_host_functions_is_itself() {
    fn is_itself<H: HostFunctions>() -> bool {
        H::host_functions() == H::host_functions()
    }
    assert!(is_itself::<SlackwaterHostFunctions>());
    assert!(is_itself::<StandardHostFunctions>());
}
