//! A hash map with open addresses.

use crate::Random;

const PLACES: usize = 8_192;

struct Map {
    keys: [u32; PLACES],
    values: [u32; PLACES],
}

impl Map {
    /// Where `key`, which is not zero, stands or could stand.
    #[inline(never)]
    fn place(&self, key: u32) -> usize {
        let mut place = key.wrapping_mul(2_654_435_769) as usize >> 19;
        while self.keys[place] != 0 && self.keys[place] != key {
            place = (place + 1) % PLACES;
        }
        place
    }
}

/// Counts 4,096 keys, so many times, and looks them up.
pub fn hash_map(rounds: u32) -> u64 {
    let mut map = Map { keys: [0; PLACES], values: [0; PLACES] };
    let mut sum = 0_u64;
    for round in 0..rounds {
        let mut random = Random(u64::from(round % 3));
        for _ in 0..4_096 {
            let key = random.next() % 5_000 + 1;
            let place = map.place(key);
            map.keys[place] = key;
            map.values[place] += 1;
        }
        for key in 1..5_000 {
            sum += u64::from(map.values[map.place(key)]);
        }
    }
    sum
}
