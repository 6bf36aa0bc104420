//! The search for the dearest operators: every operator of the first version of WebAssembly in a
//! chain, each step of which waits for the one before.
//!
//! Invariant: no operand is known to the compiler, and neighbours differ, so that no step is folded
//! into another. A step is the operator, what brings its second operand, what turns its result into its
//! first operand again, and, where steps could be taken together, something cheap between them; each of
//! these is paid for too, as in any program.

use super::{guest::Guest, measure::Bench};

/// Steps in a round.
const STEPS: u32 = 64;
/// Operands to choose from.
const OPERANDS: u32 = 4;

/// Operators on numbers: names, types of the operands, type of the result. `i` and `l` are integers
/// of 32 and 64 bits, `f` and `d` floats.
const NUMERIC: [(&str, &str, char); 24] = [
    ("i32.clz i32.ctz i32.popcnt i32.eqz", "i", 'i'),
    ("i32.add i32.sub i32.mul i32.and i32.or i32.xor", "ii", 'i'),
    ("i32.div_s i32.div_u i32.rem_s i32.rem_u", "ii", 'i'),
    ("i32.shl i32.shr_s i32.shr_u i32.rotl i32.rotr", "ii", 'i'),
    (
        "i32.eq i32.ne i32.lt_s i32.lt_u i32.gt_s i32.gt_u i32.le_s i32.le_u i32.ge_s i32.ge_u",
        "ii",
        'i',
    ),
    ("i64.clz i64.ctz i64.popcnt", "l", 'l'),
    ("i64.add i64.sub i64.mul i64.and i64.or i64.xor", "ll", 'l'),
    ("i64.div_s i64.div_u i64.rem_s i64.rem_u", "ll", 'l'),
    ("i64.shl i64.shr_s i64.shr_u i64.rotl i64.rotr", "ll", 'l'),
    (
        "i64.eq i64.ne i64.lt_s i64.lt_u i64.gt_s i64.gt_u i64.le_s i64.le_u i64.ge_s i64.ge_u",
        "ll",
        'i',
    ),
    ("i64.eqz i32.wrap_i64", "l", 'i'),
    (
        "f32.abs f32.neg f32.ceil f32.floor f32.trunc f32.nearest f32.sqrt",
        "f",
        'f',
    ),
    (
        "f32.add f32.sub f32.mul f32.div f32.min f32.max f32.copysign",
        "ff",
        'f',
    ),
    ("f32.eq f32.ne f32.lt f32.gt f32.le f32.ge", "ff", 'i'),
    (
        "f64.abs f64.neg f64.ceil f64.floor f64.trunc f64.nearest f64.sqrt",
        "d",
        'd',
    ),
    (
        "f64.add f64.sub f64.mul f64.div f64.min f64.max f64.copysign",
        "dd",
        'd',
    ),
    ("f64.eq f64.ne f64.lt f64.gt f64.le f64.ge", "dd", 'i'),
    (
        "i32.trunc_f32_s i32.trunc_f32_u i32.reinterpret_f32",
        "f",
        'i',
    ),
    ("i32.trunc_f64_s i32.trunc_f64_u", "d", 'i'),
    ("i64.extend_i32_s i64.extend_i32_u", "i", 'l'),
    ("i64.trunc_f32_s i64.trunc_f32_u", "f", 'l'),
    (
        "i64.trunc_f64_s i64.trunc_f64_u i64.reinterpret_f64",
        "d",
        'l',
    ),
    (
        "f32.convert_i32_s f32.convert_i32_u f32.reinterpret_i32",
        "i",
        'f',
    ),
    ("f64.convert_i32_s f64.convert_i32_u", "i", 'd'),
];

/// As [`NUMERIC`]: conversions of 64 bits.
const WIDE_CONVERSIONS: [(&str, &str, char); 4] = [
    ("f32.convert_i64_s f32.convert_i64_u", "l", 'f'),
    (
        "f64.convert_i64_s f64.convert_i64_u f64.reinterpret_i64",
        "l",
        'd',
    ),
    ("f32.demote_f64", "d", 'f'),
    ("f64.promote_f32", "f", 'd'),
];

/// Loads, and the type they bring.
const LOADS: [(&str, char); 4] = [
    (
        "i32.load i32.load8_s i32.load8_u i32.load16_s i32.load16_u",
        'i',
    ),
    (
        "i64.load i64.load8_s i64.load8_u i64.load16_s i64.load16_u i64.load32_s i64.load32_u",
        'l',
    ),
    ("f32.load", 'f'),
    ("f64.load", 'd'),
];

/// Stores, and the type they take.
const STORES: [(&str, char); 4] = [
    ("i32.store i32.store8 i32.store16", 'i'),
    ("i64.store i64.store8 i64.store16 i64.store32", 'l'),
    ("f32.store", 'f'),
    ("f64.store", 'd'),
];

/// All operators that work on values and memory.
pub(super) fn benches() -> Vec<Bench> {
    let mut benches = Vec::new();
    for (names, operands, result) in NUMERIC.into_iter().chain(WIDE_CONVERSIONS) {
        benches.extend(names.split(' ').map(|name| numeric(name, operands, result)));
    }
    for (names, ty) in LOADS {
        benches.extend(names.split(' ').map(|name| load(name, ty)));
    }
    for (names, ty) in STORES {
        benches.extend(names.split(' ').map(|name| store(name, ty)));
    }
    benches.extend(variables());
    benches.extend(hard_values());
    benches
}

/// The name of the price of an operator: `I32DivS` for `i32.div_s`.
pub(super) fn price_of(operator: &str) -> String {
    let words = operator.split(['.', '_']);
    let capital = |word: &str| {
        let mut letters = word.chars();
        let first = letters.next().map(|first| first.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    };
    format!("operator {}", words.map(capital).collect::<String>())
}

/// A chain of steps on a value of type `ty` that begins as `first`; the operands are in `$y0` to
/// `$y3`, which hold `others`.
fn chain(ty: char, first: u64, others: [u64; 4], step: impl Fn(u32) -> String) -> Guest {
    let mut locals = format!("(local $x {})", wat_type(ty));
    let mut setup = format!("(local.set $x {})", unknown(ty, first));
    for (number, other) in others.into_iter().enumerate() {
        locals += &format!("(local $y{number} {})", wat_type(ty));
        setup += &format!("(local.set $y{number} {})", unknown(ty, other));
    }
    let steps: String = (0..STEPS).map(|number| step(number % OPERANDS)).collect();
    Guest {
        items: "(global $g (mut i64) (i64.const 0))".to_owned(),
        locals,
        setup,
        body: format!("local.get $x {steps} local.set $x"),
        ..Guest::default()
    }
}

/// A row about `operator`, which is in each step of `guest`.
fn row(name: &str, operator: &str, guest: &Guest) -> Bench {
    let bench = Bench::guest(name, guest);
    bench.units(STEPS).tests(price_of(operator), 1.0)
}

fn numeric(name: &str, operands: &str, result: char) -> Bench {
    let ty = operands.chars().next().unwrap_or(result);
    let back = way_back(name, result, ty);
    let second = operands.len() > 1;
    let (first, others) = values(name, ty);
    let between = between(name, ty);
    let guest = chain(ty, first, others, |number| {
        let operand = if second {
            format!("local.get $y{number} ")
        } else {
            String::new()
        };
        let between = between.replace('#', &number.to_string());
        format!("{operand}{name} {back} {between} ")
    });
    row(name, name, &guest)
}

/// What stands between steps that the compiler would otherwise take together.
fn between(name: &str, ty: char) -> String {
    let (_, operator) = name.split_once('.').unwrap_or_default();
    let folded = match operator {
        "add" | "sub" | "mul" => matches!(ty, 'i' | 'l'),
        "neg" | "abs" | "and" | "or" | "xor" | "rotl" | "rotr" | "eqz" | "wrap_i64"
        | "extend_i32_s" | "extend_i32_u" => true,
        _ => false,
    };
    match ty {
        _ if !folded => String::new(),
        'f' | 'd' => format!("local.get $y# {}.copysign", wat_type(ty)),
        _ if operator == "xor" => format!("local.get $y# {}.add", wat_type(ty)),
        _ => format!("local.get $y# {}.xor", wat_type(ty)),
    }
}

/// The type as the text format names it.
fn wat_type(ty: char) -> &'static str {
    match ty {
        'i' => "i32",
        'l' => "i64",
        'f' => "f32",
        _ => "f64",
    }
}

/// A value that the compiler does not know: the bits, and what is at address 0, which is zero.
fn unknown(ty: char, bits: u64) -> String {
    let narrow = format!(
        "(i32.xor (i32.load (i32.const 0)) (i32.const {}))",
        bits & 0xffff_ffff
    );
    let wide = format!("(i64.xor (i64.load (i32.const 0)) (i64.const {bits}))");
    match ty {
        'i' => narrow,
        'l' => wide,
        'f' => format!("(f32.reinterpret_i32 {narrow})"),
        _ => format!("(f64.reinterpret_i64 {wide})"),
    }
}

/// Operators that turn a value of type `from` into one of type `to`, so that `name` applies to it.
fn way_back(name: &str, from: char, to: char) -> &'static str {
    let truncates = name.contains(".trunc_");
    match (from, to) {
        ('i', 'l') => "i64.extend_i32_u",
        ('l', 'i') => "i32.wrap_i64",
        ('i', 'f') if name.contains("reinterpret") => "f32.reinterpret_i32",
        ('i', 'f') => "f32.convert_i32_s",
        ('i', 'd') => "f64.convert_i32_s",
        ('l', 'f') => "f32.convert_i64_s",
        ('l', 'd') if truncates => "f64.convert_i64_s",
        ('l', 'd') => "f64.reinterpret_i64",
        ('f', 'i') => "i32.reinterpret_f32",
        ('f', 'l') => "i32.reinterpret_f32 i64.extend_i32_u",
        ('d', 'l') => "i64.reinterpret_f64",
        ('d', 'i') => "i64.reinterpret_f64 i32.wrap_i64",
        ('f', 'd') => "f64.promote_f32",
        ('d', 'f') => "f32.demote_f64",
        _ => "",
    }
}

/// Where a chain begins, and the operands of its steps: values with which it neither traps nor comes
/// to rest where the operator is cheap.
fn values(name: &str, ty: char) -> (u64, [u64; 4]) {
    let f32s = |values: [f32; 4]| values.map(|value| u64::from(value.to_bits()));
    let f64s = |values: [f64; 4]| values.map(f64::to_bits);
    match ty {
        // By 1, so that the quotient stays large.
        'i' if name.contains("div") => (0x7654_3210, [1; 4]),
        'l' if name.contains("div") => (0x7654_3210_fedc_ba98, [1; 4]),
        // By more, so that the remainder does.
        'i' if name.contains("rem") => (0x3654_3210, [0x7654_3211; 4]),
        'l' if name.contains("rem") => (0x3654_3210_fedc_ba98, [0x7654_3210_fedc_ba99; 4]),
        'i' => (0x7654_3210, [0x9e37_79b9, 7, 0x85eb_ca6b, 0xc2b2_ae35]),
        'l' => (
            0x7654_3210_fedc_ba98,
            [
                0x9e37_79b9_7f4a_7c15,
                13,
                0xc2b2_ae3d_27d4_eb4f,
                0x1656_67b1_9e37_79f9,
            ],
        ),
        'f' => (
            u64::from(1000.5_f32.to_bits()),
            f32s([1.5, 1.0 / 1.5, 1.25, 0.8]),
        ),
        _ => (1000.5_f64.to_bits(), f64s([1.5, 1.0 / 1.5, 1.25, 0.8])),
    }
}

/// A load of the address it loads from, so that the next one waits for it.
fn load(name: &str, ty: char) -> Bench {
    let back = way_back("reinterpret", ty, 'i');
    let mut guest = chain('i', 64, [64; 4], |_| format!("{name} {back} "));
    guest.setup += "(i64.store (i32.const 64) (i64.const 64))";
    row(name, name, &guest)
}

fn store(name: &str, ty: char) -> Bench {
    let steps = (0..STEPS).map(|number| {
        let offset = 4_096 + number * 8;
        format!("local.get $p local.get $v {name} offset={offset} ")
    });
    let guest = Guest {
        locals: format!("(local $p i32) (local $v {})", wat_type(ty)),
        setup: format!("(local.set $v {})", unknown(ty, 0x1234_5678)),
        body: steps.collect(),
        ..Guest::default()
    };
    row(name, name, &guest)
}

/// Locals, globals, constants, `select`, `drop` and `memory.size`.
fn variables() -> Vec<Bench> {
    let steps = [
        ("local.get", "local.get $y# i64.sub local.get $y# i64.xor "),
        ("local.set", "local.set $y# local.get $y# "),
        ("local.tee", "local.tee $y# "),
        ("global.get", "global.get $g i64.add local.get $y# i64.xor "),
        ("global.set", "global.set $g global.get $g "),
        (
            "i64.const",
            "i64.const 0x76543210fedcba9# i64.add local.get $y# i64.xor ",
        ),
        ("drop", "local.get $y# drop "),
        (
            "memory.size",
            "memory.size i64.extend_i32_u i64.xor local.get $y# i64.add ",
        ),
        (
            "select",
            "local.get $y# local.get $rounds i32.const 1 i32.and select ",
        ),
    ];
    let (first, others) = values("", 'l');
    let bench = |(name, step): (&str, &str)| {
        let numbered = |number: u32| step.replace('#', &number.to_string());
        row(name, name, &chain('l', first, others, numbered))
    };
    steps.into_iter().map(bench).collect()
}

/// Operators on values that processors find hard.
fn hard_values() -> Vec<Bench> {
    let mut benches = Vec::new();
    for (prefix, ty, large) in [
        ("i32", 'i', 0x7654_3211),
        ("i64", 'l', 0x7654_3210_fedc_ba99),
    ] {
        // A small remainder, made large again.
        let step = |_| format!("local.get $y0 {prefix}.rem_u local.get $y1 {prefix}.or ");
        let guest = chain(ty, large, [3, large, 0, 0], step);
        let name = format!("{prefix}.rem_u");
        benches.push(row(&format!("{name}, quotients large"), &name, &guest));
    }
    for float in [SINGLE, DOUBLE] {
        let Float { prefix, ty, .. } = float;
        for (operator, first, other, what) in [
            ("mul", float.subnormal, float.one, "subnormal"),
            ("div", float.subnormal, float.one, "subnormal"),
            ("add", float.one, float.nan, "no number"),
            ("min", float.one, float.nan, "no number"),
        ] {
            let name = format!("{prefix}.{operator}");
            let step = |number| format!("local.get $y{number} {name} ");
            let guest = chain(ty, first, [other; 4], step);
            benches.push(row(&format!("{name}, {what}"), &name, &guest));
        }
        // The root of a subnormal, made subnormal again.
        let name = format!("{prefix}.sqrt");
        let step = |_| format!("{name} local.get $y0 {prefix}.mul ");
        let guest = chain(ty, float.subnormal, [float.small; 4], step);
        benches.push(row(&format!("{name}, subnormal"), &name, &guest));
    }
    let step = |_| "f64.promote_f32 f32.demote_f64 ".to_owned();
    let guest = chain('f', SINGLE.subnormal, [0; 4], step);
    let name = "f64.promote_f32";
    benches.push(row(&format!("{name}, subnormal"), name, &guest));
    benches
}

/// Bits of floats of one size.
#[derive(Clone, Copy)]
struct Float {
    prefix: &'static str,
    ty: char,
    one: u64,
    nan: u64,
    /// No zero, and below all normal numbers.
    subnormal: u64,
    /// Its square is subnormal.
    small: u64,
}

const SINGLE: Float = Float {
    prefix: "f32",
    ty: 'f',
    one: 0x3f80_0000,
    nan: 0x7fc0_0000,
    subnormal: 0x0000_ffff,
    small: 0x1f00_0000,
};
const DOUBLE: Float = Float {
    prefix: "f64",
    ty: 'd',
    one: 0x3ff0_0000_0000_0000,
    nan: 0x7ff8_0000_0000_0000,
    subnormal: 0x0000_0fff_ffff_ffff,
    small: 0x1ff0_0000_0000_0000,
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use slackwater_executor::fuel::Schedule;

    use super::{super::patterns, *};

    /// Operators of the first version of WebAssembly that need no row: they do nothing, or end
    /// everything, or are in every row.
    const WITHOUT: [&str; 9] = [
        "Unreachable",
        "Nop",
        "Else",
        "End",
        "Br",
        "I32Const",
        "F32Const",
        "F64Const",
        "Return",
    ];

    #[test]
    fn every_operator_has_a_row() {
        let rows = benches().into_iter().chain(patterns::benches());
        let tested: BTreeSet<_> = rows
            .filter_map(|row| row.tested.map(|it| it.name))
            .collect();
        let prices = Schedule::default().rows();
        let names = prices.iter().map(|(name, _)| name.as_str());
        let operators = names.filter(|name| name.starts_with("operator "));
        let last = "operator F64ReinterpretI64";
        let mut missing: Vec<_> = operators
            .clone()
            .take_while(|name| *name != last)
            .chain([last])
            .filter(|name| !tested.contains(*name))
            .collect();
        missing.retain(|name| !WITHOUT.contains(&name.trim_start_matches("operator ")));
        assert_eq!(missing, Vec::<&str>::new());
    }
}
