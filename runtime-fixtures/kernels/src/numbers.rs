//! Calls, loops and arrays of numbers.

use core::hint::black_box;

use crate::Random;

/// The Fibonacci number of `n`, by calling itself.
pub fn fib(n: u32) -> u64 {
    #[inline(never)]
    fn fib(n: u32) -> u32 {
        if n < 2 { n } else { fib(n - 1).wrapping_add(fib(n - 2)) }
    }
    fib(n).into()
}

/// Steps of all numbers below `end` until they are one.
pub fn collatz(end: u32) -> u64 {
    let mut steps = 0;
    for start in 1..u64::from(end) {
        let mut number = start;
        while number != 1 {
            number = if number % 2 == 0 { number / 2 } else { 3 * number + 1 };
            steps += 1;
        }
    }
    steps
}

/// Primes below 65,536, so many times.
pub fn sieve(rounds: u32) -> u64 {
    const END: usize = 65_536;
    let mut primes = 0;
    for _ in 0..rounds {
        let mut composite = [false; END];
        for number in 2..END {
            if composite[number] {
                continue;
            }
            primes += 1;
            let mut multiple = number * number;
            while multiple < END {
                composite[multiple] = true;
                multiple += number;
            }
        }
        black_box(&composite);
    }
    primes
}

/// Products of two matrices of 64 by 64 doubles.
pub fn matmul(rounds: u32) -> u64 {
    const SIZE: usize = 64;
    let mut random = Random(1);
    let mut matrix = || {
        let mut made = [[0.0_f64; SIZE]; SIZE];
        for cell in made.iter_mut().flatten() {
            *cell = f64::from(random.next() % 1_000);
        }
        made
    };
    let (left, right) = (matrix(), matrix());
    let mut sum = 0.0;
    for round in 0..rounds {
        let mut product = [[0.0_f64; SIZE]; SIZE];
        for row in 0..SIZE {
            for column in 0..SIZE {
                let mut cell = 0.0;
                for inner in 0..SIZE {
                    cell += left[row][inner] * right[inner][column];
                }
                product[row][column] = cell;
            }
        }
        sum += product[round as usize % SIZE][7];
    }
    sum.to_bits()
}

/// Sorts 10,000 numbers, so many times.
pub fn quicksort(rounds: u32) -> u64 {
    fn sort(numbers: &mut [u32]) {
        if numbers.len() < 2 {
            return;
        }
        let pivot = numbers[numbers.len() / 2];
        let (mut low, mut high) = (0, numbers.len() - 1);
        loop {
            while numbers[low] < pivot {
                low += 1;
            }
            while numbers[high] > pivot {
                high -= 1;
            }
            if low >= high {
                break;
            }
            numbers.swap(low, high);
            low += 1;
            high -= 1;
        }
        let (left, right) = numbers.split_at_mut(low);
        sort(left);
        sort(right);
    }
    let (mut sum, mut random) = (0_u64, Random(2));
    for _ in 0..rounds {
        let mut numbers = [0; 10_000];
        for number in &mut numbers {
            *number = random.next();
        }
        sort(&mut numbers);
        sum = sum.wrapping_mul(31).wrapping_add(numbers[5_000].into());
    }
    sum
}

/// Sums of the bytes of 64 KiB, so many times.
pub fn byte_sums(rounds: u32) -> u64 {
    let mut bytes = [0_u8; 65_536];
    let mut random = Random(3);
    for byte in &mut bytes {
        *byte = random.next() as u8;
    }
    let mut sum = 0_u64;
    for _ in 0..rounds {
        for byte in black_box(&bytes) {
            sum = sum.wrapping_add(u64::from(*byte));
        }
    }
    sum
}
