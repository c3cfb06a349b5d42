use super::*;
use crate::PromptView;

fn chain(text: &str) -> PrefixChain {
    PrefixChain::new(&PromptView::new(text.as_bytes(), b""))
}

fn talk(number: usize) -> String {
    format!("talk {number:4}. ").repeat(40)
}

fn who(index: &PrefixIndex, chain: &PrefixChain) -> Vec<u32> {
    let matches = index.matches(chain);
    let longest = matches.longest_first().next();
    longest.map(|(_, ids)| ids.to_vec()).unwrap_or_default()
}

#[test]
fn what_was_recorded_is_found_up_to_where_it_matches() {
    let mut index = PrefixIndex::new(1000);
    let system = "You are terse. ".repeat(50);
    index.record(&chain(&format!("{system}{}", talk(1))), 3);
    let other = chain(&format!("{system}{}", talk(2)));
    let matches = index.matches(&other);
    let blocks: Vec<usize> = matches.longest_first().map(|(block, _)| block).collect();
    // 750 bytes are alike: five beginnings of 128 bytes each.
    assert_eq!(blocks, [4, 3, 2, 1, 0]);
    assert!(who(&index, &chain(&talk(9))).is_empty());
}

#[test]
fn the_latest_comes_first_and_the_earliest_is_forgotten() {
    let mut index = PrefixIndex::new(1000);
    let chain = chain(&talk(1));
    for replica_id in [1, 2, 3, 2] {
        index.record(&chain, replica_id);
    }
    assert_eq!(who(&index, &chain), [2, 3, 1]);
    for replica_id in [4, 5, 6] {
        index.record(&chain, replica_id);
    }
    assert_eq!(who(&index, &chain), [6, 5, 4, 2, 3]);
    index.record(&chain, 0);
    assert_eq!(
        who(&index, &chain),
        [6, 5, 4, 2, 3],
        "there is no replica 0"
    );
}

#[test]
fn memory_is_bounded_and_what_is_used_stays() {
    let mut index = PrefixIndex::new(256);
    let kept = chain(&talk(0));
    index.record(&kept, 1);
    for number in 1..2000 {
        index.record(&chain(&talk(number)), 2);
        index.record(&kept, 1);
    }
    assert_eq!(index.sets.len() * WAYS, 256);
    assert_eq!(who(&index, &kept), [1]);
    let remembered = (1..2000)
        .filter(|&number| !who(&index, &chain(&talk(number))).is_empty())
        .collect::<Vec<_>>();
    assert!(
        (30..400).contains(&remembered.len()),
        "{}",
        remembered.len()
    );
    assert!(
        remembered[0] > 1000,
        "the latest are remembered: {}",
        remembered[0]
    );
}

fn forget(index: &mut PrefixIndex, lost: u64) {
    let entries = index.sets.iter_mut().flatten();
    for entry in entries.filter(|entry| entry.hash == lost) {
        *entry = Entry::default();
    }
}

#[test]
fn small_gaps_do_not_hide_a_longer_match() {
    let mut index = PrefixIndex::new(1000);
    let chain = chain(&talk(1).repeat(3));
    index.record(&chain, 7);
    let last = chain.hashes().len() - 1;
    for block in [0, 1, 3, 4, 6] {
        forget(&mut index, chain.hashes()[block]);
    }
    let longest = index.matches(&chain).longest_first().next();
    assert_eq!(longest, Some((last, &[7][..])));

    forget(&mut index, chain.hashes()[5]);
    let longest = index.matches(&chain).longest_first().next();
    assert_eq!(longest, Some((2, &[7][..])), "four in a row are no match");
}

#[test]
fn ages_survive_the_end_of_the_clock() {
    let mut index = PrefixIndex::new(4);
    index.clock = u32::MAX - 1;
    for number in 0..8 {
        index.record(
            &chain(&"abcdefgh".repeat(16).replace('h', &number.to_string())),
            1,
        );
    }
    for number in 4..8 {
        let recent = chain(&"abcdefgh".repeat(16).replace('h', &number.to_string()));
        assert_eq!(who(&index, &recent), [1], "{number}");
    }
}

#[test]
fn any_size_asked_for_gives_an_index() {
    for entries in [0, 1, 5, 1000] {
        let mut index = PrefixIndex::new(entries);
        index.record(&chain(&talk(1)), 1);
        assert!(!who(&index, &chain(&talk(1))).is_empty());
    }
}
