use rstest::rstest;

use super::*;

fn addresses(ips: &[&str]) -> Vec<Address> {
    ips.iter().map(|ip| Address::Ip((*ip).into())).collect()
}

fn stored(ips: &[&str], ours: bool) -> StoredIngress {
    StoredIngress {
        addresses: addresses(ips),
        ours,
    }
}

#[rstest]
#[case::new(true, stored(&[], false), Step::Apply(addresses(&["192.0.2.1"])))]
#[case::there(true, stored(&["192.0.2.1"], true), Step::There)]
#[case::changed(true, stored(&["192.0.2.9"], true), Step::Apply(addresses(&["192.0.2.1"])))]
#[case::of_another(true, stored(&["192.0.2.7"], false), Step::Foreign)]
#[case::class_gone(false, stored(&["192.0.2.1"], true), Step::Apply(vec![]))]
#[case::never_ours(false, stored(&["192.0.2.1"], false), Step::Nothing)]
#[case::class_gone_and_address_changed(false, stored(&["192.0.2.7"], true), Step::Apply(vec![]))]
#[case::the_same_of_another(true, stored(&["192.0.2.1"], false), Step::Apply(addresses(&["192.0.2.1"])))]
#[case::nothing_there(false, stored(&[], false), Step::Nothing)]
#[tokio::test(start_paused = true)]
async fn steps(#[case] ours: bool, #[case] stored: StoredIngress, #[case] expect: Step) {
    let want = addresses(&["192.0.2.1"]);
    let now = Instant::now();
    assert_eq!(
        step(ours, false, &stored, &want, &Past::default(), now),
        expect
    );
}

#[tokio::test(start_paused = true)]
async fn what_another_class_left_is_taken_over() {
    let want = addresses(&["192.0.2.1"]);
    let now = Instant::now();
    let left = stored(&["192.0.2.7"], false);
    let mut past = Past::default();
    let expected = Step::Apply(want.clone());
    assert_eq!(step(true, true, &left, &want, &past, now), expected);
    // Once: whoever writes it again means it.
    past.saw(&want, now);
    assert_eq!(step(true, true, &left, &want, &past, now), Step::Nothing);
    // Also when our own address is another one later.
    let other = addresses(&["192.0.2.2"]);
    assert_eq!(step(true, false, &left, &other, &past, now), Step::Foreign);
}

#[tokio::test(start_paused = true)]
async fn two_with_different_addresses_come_to_rest() {
    let now = Instant::now();
    let want = [addresses(&["192.0.2.1"]), addresses(&["192.0.2.2"])];
    let mut pasts = [Past::default(), Past::default()];
    let mut there = stored(&[], false);
    let mut writes = 0;
    for round in 0..10 {
        let (want, past) = (&want[round % 2], &mut pasts[round % 2]);
        match step(true, false, &there, want, past, now) {
            Step::Apply(new) => {
                writes += 1;
                past.saw(&new, now);
                there = StoredIngress {
                    addresses: new,
                    ours: true,
                };
            }
            Step::There => past.saw(want, now),
            Step::Nothing | Step::Foreign | Step::Wait(_) => {}
        }
    }
    assert_eq!(writes, 2);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_emptied_is_filled_again_but_not_in_a_loop() {
    let want = addresses(&["192.0.2.1"]);
    let mut past = Past::default();
    let now = Instant::now();
    past.saw(&want, now);
    let empty = stored(&[], false);
    let at = now + AGAIN;
    assert_eq!(step(true, false, &empty, &want, &past, now), Step::Wait(at));
    assert_eq!(
        step(true, false, &empty, &want, &past, at),
        Step::Apply(want)
    );
}

#[tokio::test(start_paused = true)]
async fn addresses_are_taken_back_once() {
    let want = addresses(&["192.0.2.1"]);
    let mut past = Past::default();
    let now = Instant::now();
    past.saw(&[], now);
    let shared = stored(&["192.0.2.1"], true);
    assert_eq!(
        step(false, false, &shared, &want, &past, now),
        Step::Nothing
    );
}

#[test]
fn an_apply_lists_all_entries() {
    let entries = [
        Address::Ip("192.0.2.1".into()),
        Address::Hostname("lb.example.com".into()),
    ];
    let expect =
        json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}});
    assert_eq!(body(&entries), expect);
    assert_eq!(body(&[]), json!({}));
}
