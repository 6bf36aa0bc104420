//! Small programs that only compute, for measuring what counting costs them. Their source is in `kernels/`.

/// All kernels, each an entry point that takes 4 bytes and gives 8.
pub const KERNELS_WASM: &[u8] = include_bytes!("../wasm/kernels.wasm");

/// A kernel, and how much it is to do for some milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel {
    /// The name of its entry point.
    pub name: &'static str,
    /// Its input.
    pub work: u32,
}

/// Every kernel.
pub const KERNELS: [Kernel; 14] = [
    kernel("fib", 26),
    kernel("collatz", 8_000),
    kernel("sieve", 12),
    kernel("matmul", 10),
    kernel("quicksort", 4),
    kernel("byte_sums", 60),
    kernel("blake2b", 600),
    kernel("sha256", 500),
    kernel("hash_map", 60),
    kernel("interpreter", 60_000),
    kernel("emulator", 500_000),
    kernel("json", 700),
    kernel("regex", 80),
    kernel("marks", 400),
];

const fn kernel(name: &'static str, work: u32) -> Kernel {
    Kernel { name, work }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_is_exported() {
        for kernel in KERNELS {
            let name = [
                &[u8::try_from(kernel.name.len()).expect("short")],
                kernel.name.as_bytes(),
            ];
            let name = name.concat();
            let found = KERNELS_WASM.windows(name.len()).any(|bytes| bytes == name);
            assert!(found, "{}", kernel.name);
        }
    }
}
