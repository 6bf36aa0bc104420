//! Memories that are written to as guests would, and put back.

use std::sync::Arc;

use super::{super::image::Image, *};

const PAGES: usize = 2_000;

struct Bench {
    area: Area,
    tracker: Tracker,
    resetter: Resetter,
}

impl Bench {
    fn new(strategy: MemoryStrategy) -> Self {
        let page = page_bytes();
        let contents: Vec<u8> = (0..=250).cycle().take(5 * page).collect();
        let image = Image::new([(10 * page, contents.as_slice())].into_iter(), true);
        let area = Area::new(PAGES * page, 2 * PAGES * page, page).expect("addresses");
        area.set_image(&Arc::new(image)).expect("an image");
        Self {
            area,
            tracker: Tracker::new(),
            resetter: Resetter::new(strategy, 512 * page),
        }
    }

    /// What a call does that stores to these pages, faults and all.
    fn store(&self, pages: impl IntoIterator<Item = usize>) {
        for page in pages {
            let offset = page * page_bytes() + 77;
            let start = page * page_bytes();
            let range = start..start + page_bytes();
            if !self.area.is_writable(offset).expect("a byte") {
                assert!(self.area.fault(self.area.base().addr() + offset));
            }
            let value = [page.to_le_bytes()[0] | 1; 9];
            self.area.poke(offset, &value).expect("writable");
            assert!(!self.area.is_pristine(&range).expect("readable"));
        }
    }

    fn reset(&mut self) {
        self.tracker
            .reset(&self.area, PAGES * page_bytes(), &self.resetter)
            .expect("it resets");
        for page in 0..PAGES {
            let start = page * page_bytes();
            let range = start..start + page_bytes();
            assert!(self.area.is_pristine(&range).expect("readable"), "{page}");
        }
    }
}

#[test]
fn everything_is_put_back_whatever_is_written() {
    for strategy in [
        MemoryStrategy::Auto,
        MemoryStrategy::Discard,
        MemoryStrategy::Plain,
    ] {
        let mut bench = Bench::new(strategy);
        let mut seed = 7_u64;
        for call in 0..200_usize {
            let mut random = || {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as usize
            };
            // Long calm, then drift, then a storm.
            let steady = [0, 11, 12, 500, 501];
            bench.store(steady);
            match call {
                60..100 => bench.store((call..call + 40).map(|page| page + 600)),
                100..120 => bench.store((0..300).map(|_| random() % PAGES)),
                150 => bench.store([1_999]),
                _ => {}
            }
            bench.reset();
        }
    }
}

/// The machine the tests run on must support what they are about.
#[test]
fn a_calm_guest_is_sealed_and_a_storm_makes_it_wild() {
    let mut bench = Bench::new(MemoryStrategy::Auto);
    assert_eq!(bench.resetter.strategy(), MemoryStrategy::Auto);
    for _ in 0..10 {
        bench.store([3, 11, 800]);
        bench.reset();
    }
    assert!(bench.area.is_sealed());
    bench.store([3, 11, 800]);
    assert!(bench.area.is_sealed(), "hot pages are open");
    bench.store([60]);
    assert!(!bench.area.is_sealed());
    bench.reset();
    bench.store((0..300).map(|page| page * 5));
    bench.reset();
    assert!(matches!(bench.tracker.mode, Mode::Wild(_)));
}

/// Pages that are not written to any more are given back, so that they cost nothing.
#[test]
fn a_heavy_call_is_forgotten() {
    let mut bench = Bench::new(MemoryStrategy::Auto);
    for _ in 0..10 {
        bench.store(100..400);
        bench.reset();
    }
    assert!(bench.area.is_sealed());
    for _ in 0..100 {
        bench.store([100]);
        bench.reset();
    }
    assert!(bench.area.is_sealed());
    assert!(bench.tracker.hot.len() < 10, "{}", bench.tracker.hot.len());
}

#[test]
fn what_is_beyond_the_length_cannot_be_touched_and_is_zero_again() {
    let mut bench = Bench::new(MemoryStrategy::Auto);
    let page = page_bytes();
    let behind = PAGES * page;
    assert!(!bench.area.is_writable(behind).expect("reserved"));
    assert!(!bench.area.fault(bench.area.base().addr() + behind));
    assert!(!bench.area.fault(bench.area.base().addr() - 1));
    bench.area.grow_to(behind + page).expect("it grows");
    bench.store([PAGES]);
    bench.reset();
    assert!(!bench.area.is_writable(behind).expect("reserved"));
    bench.area.grow_to(behind + page).expect("it grows");
    assert!(
        bench
            .area
            .is_pristine(&(behind..behind + page))
            .expect("readable")
    );
    assert!(!bench.area.is_broken());
}

/// A call that grows by `pages`, and stores to these of them.
fn grow(bench: &mut Bench, pages: usize, used: impl IntoIterator<Item = usize>) {
    let page = page_bytes();
    bench.area.begin_run();
    let grown = bench.area.grow_to((PAGES + pages) * page);
    grown.expect("it grows");
    bench.store(used.into_iter().map(|number| PAGES + number));
    bench.area.end_run();
}

#[test]
fn what_it_grows_by_is_opened_as_far_as_it_is_used() {
    let page = page_bytes();
    let mut bench = Bench::new(MemoryStrategy::Auto);
    let open = |bench: &Bench, number: usize| bench.area.is_open((PAGES + number) * page);
    // Nothing is known, so all is opened.
    grow(&mut bench, 100, [0, 2, 99]);
    assert!(open(&bench, 50));
    bench.reset();
    // What was used; what is kept is zero.
    grow(&mut bench, 100, [0, 2, 99]);
    assert_eq!(
        [1, 3, 99].map(|page| open(&bench, page)),
        [true, false, true]
    );
    bench.reset();
    let kept = first_difference(&bench.area, &bench.resetter);
    assert_eq!(kept.expect("readable"), None);
    // More is used: a fault opens all.
    grow(&mut bench, 100, [1, 6]);
    assert!(open(&bench, 50));
    bench.reset();
    grow(&mut bench, 100, [6]);
    assert_eq!([3, 50].map(|page| open(&bench, page)), [true, false]);
    // The next finds it as if nobody had been there.
    for number in 0..7 {
        let start = (PAGES + number) * page;
        let clean = bench.area.is_pristine(&(start..start + page));
        assert_eq!(clean.expect("readable"), number != 6, "{number}");
    }
    bench.reset();
    // Growth to another length opens all, and that is learned.
    grow(&mut bench, 50, [6]);
    assert!(open(&bench, 49));
    bench.reset();
    grow(&mut bench, 50, [6]);
    assert!(!open(&bench, 49));
    bench.reset();
    // In two steps.
    for _ in 0..2 {
        bench.area.begin_run();
        for pages in [50, 70] {
            let grown = bench.area.grow_to((PAGES + pages) * page);
            grown.expect("it grows");
        }
        assert!(open(&bench, 60));
        bench.store([PAGES + 60, 3]);
        bench.area.end_run();
        bench.reset();
    }
    // Before the run, for an input.
    bench.area.grow_to((PAGES + 50) * page).expect("it grows");
    assert!(open(&bench, 49));
    bench.reset();
    // A storm is not kept.
    grow(&mut bench, 1_000, 0..800);
    bench.reset();
    grow(&mut bench, 1_000, [5]);
    assert!(open(&bench, 999));
    bench.reset();
    // What nobody writes is read, again and again.
    let mut bench = Bench::new(MemoryStrategy::Auto);
    let mut opened = 0;
    for _ in 0..20 {
        grow(&mut bench, 9, []);
        assert!(
            bench
                .area
                .fault(bench.area.base().addr() + (PAGES + 7) * page)
                || open(&bench, 7)
        );
        opened += usize::from(bench.tracker.growth.ranges() == 0 && open(&bench, 8));
        bench.reset();
    }
    assert_eq!(opened, 20);
    // A leak behind the length is one.
    let mut bench = Bench::new(MemoryStrategy::Auto);
    for _ in 0..2 {
        grow(&mut bench, 9, [4]);
        bench.reset();
    }
    bench.area.grow_to((PAGES + 9) * page).expect("it grows");
    bench.store([PAGES + 4]);
    bench.area.shrink_without_clearing(PAGES * page);
    let leak = first_difference(&bench.area, &bench.resetter);
    assert_eq!(leak.expect("readable"), Some(PAGES * page));
}

#[test]
fn what_is_released_begins_anew() {
    for strategy in [
        MemoryStrategy::Auto,
        MemoryStrategy::Discard,
        MemoryStrategy::Plain,
    ] {
        let mut bench = Bench::new(strategy);
        let page = page_bytes();
        for _ in 0..10 {
            grow(&mut bench, 9, [4]);
            // While sealed, too.
            bench.area.begin_run();
            bench.store([3, 11, 800]);
            bench.area.end_run();
            bench.reset();
        }
        let sealed = strategy == MemoryStrategy::Auto;
        assert_eq!(bench.area.is_sealed(), sealed);
        let released = bench.tracker.release(&bench.area, &bench.resetter);
        released.expect("it is released");
        assert!(!bench.area.is_sealed());
        let mut found = Vec::new();
        if let Some(scanner) = &bench.resetter.scanner {
            let all = 0..(PAGES + 9) * page;
            let complete = bench.area.written(&all, scanner, &mut found);
            assert!(complete.expect("readable"));
        }
        assert!(found.is_empty(), "{found:?}");
        bench.store([3, 11, 900]);
        bench.reset();
    }
}

#[test]
fn a_leak_is_noticed() {
    for strategy in [MemoryStrategy::Auto, MemoryStrategy::Plain] {
        let bench = Bench::new(strategy);
        let different = || first_difference(&bench.area, &bench.resetter).expect("readable");
        assert_eq!(different(), None);
        bench.store([700]);
        assert_eq!(different(), Some(700 * page_bytes()));
    }
}

#[test]
fn what_a_heavy_call_touched_is_not_sealed_in_with_the_light_ones_behind_it() {
    let mut bench = Bench::new(MemoryStrategy::Auto);
    for _ in 0..5 {
        bench.store(300..400);
        bench.reset();
        for _ in 0..40 {
            bench.store([0, 11]);
            bench.reset();
        }
        assert!(bench.area.is_sealed());
        assert_eq!(
            bench
                .tracker
                .open
                .iter()
                .map(ExactSizeIterator::len)
                .sum::<usize>(),
            2 * page_bytes()
        );
    }
}

#[test]
fn calls_that_take_turns_are_sealed_all_the_same() {
    let mut bench = Bench::new(MemoryStrategy::Auto);
    for call in 0..60 {
        let first = 100 + call % 3 * 40;
        bench.store(first..first + 40);
        bench.reset();
    }
    assert!(bench.area.is_sealed());
}
