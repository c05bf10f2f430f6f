//! How often somebody may ask: token buckets by user and by address.

use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};

use crate::{config::RateLimits, problem::Problem};

/// After so many questions, buckets that are full again are forgotten.
const FORGET_EVERY: u32 = 1_024;

/// Counts the requests of each user and of each address.
#[derive(Debug)]
pub struct Rates {
    users: Buckets<String>,
    addresses: Buckets<IpAddr>,
}

impl Rates {
    /// Counts against these limits.
    pub fn new(limits: &RateLimits) -> Self {
        Self {
            users: Buckets::new(limits.per_user),
            addresses: Buckets::new(limits.per_address),
        }
    }

    /// Counts a request of a user.
    ///
    /// # Errors
    ///
    /// 429 if there were too many.
    pub fn check_user(&self, subject: &str) -> Result<(), Problem> {
        self.users.check(&subject.to_owned(), "you")
    }

    /// Counts a request from an address; an IPv6 address stands for its /64.
    ///
    /// # Errors
    ///
    /// 429 if there were too many.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Problem> {
        self.addresses.check(&site(address), "your address")
    }
}

/// Buckets of one kind.
#[derive(Debug)]
struct Buckets<K: Clone + Hash + Eq> {
    limiter: RateLimiter<
        K,
        HashMapStateStore<K>,
        DefaultClock,
        NoOpMiddleware<<DefaultClock as governor::clock::Clock>::Instant>,
    >,
    asked: AtomicU32,
}

impl<K: Clone + Hash + Eq + std::fmt::Debug> Buckets<K> {
    fn new(per_minute: NonZeroU32) -> Self {
        Self {
            limiter: RateLimiter::hashmap(Quota::per_minute(per_minute)),
            asked: AtomicU32::new(0),
        }
    }

    fn check(&self, key: &K, whose: &str) -> Result<(), Problem> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        self.limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            Problem::too_many(
                "too_many_requests",
                format!("more requests in a minute than {whose} may make"),
                Some(wait),
            )
            .with_remedy(format!("wait {} s", wait.as_secs() + 1))
        })
    }
}

/// Whoever has one address of a /64 has them all.
pub(crate) fn site(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(per_user: u32, per_address: u32) -> Rates {
        Rates::new(&RateLimits {
            per_user: NonZeroU32::new(per_user).unwrap(),
            per_address: NonZeroU32::new(per_address).unwrap(),
        })
    }

    #[test]
    fn each_user_has_a_bucket_of_his_own() {
        let rates = rates(3, 100);
        for _ in 0..3 {
            assert_eq!(rates.check_user("anna"), Ok(()));
        }
        let refused = rates.check_user("anna").unwrap_err();
        assert_eq!((refused.status, refused.code.as_str()), (429, "too_many_requests"));
        let wait = refused.retry_after.unwrap().as_secs();
        assert!((1..=20).contains(&wait), "{wait}");
        assert_eq!(rates.check_user("bob"), Ok(()));
    }

    #[test]
    fn an_address_is_counted_with_its_neighbours_in_the_same_64_bits() {
        // (first, second, the same bucket?)
        for (first, second, same) in [
            ("192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::9", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
        ] {
            let rates = rates(100, 1);
            assert_eq!(rates.check_address(first.parse().unwrap()), Ok(()));
            assert_eq!(
                rates.check_address(second.parse().unwrap()).is_err(),
                same,
                "{first} {second}"
            );
        }
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let rates = Rates::new(&RateLimits {
            per_user: NonZeroU32::MAX,
            per_address: NonZeroU32::MAX,
        });
        for number in 0..5_000 {
            assert_eq!(rates.check_user(&number.to_string()), Ok(()));
        }
        assert!(rates.users.limiter.len() < 2 * FORGET_EVERY as usize);
    }
}
