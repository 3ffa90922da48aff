//! Places among those who may do something at a time, shared by all clients so that none
//! takes them all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{access::Client, error::ApiError};

/// A client gets another place only while it has fewer than this many times those that are
/// free. So one client gets three quarters of all, two get three sevenths each, and there
/// is always a place for one who has none (the dynamic threshold of switches' buffers).
const TIMES_FREE: usize = 3;

/// A fixed number of places.
#[derive(Debug)]
pub(super) struct Places {
    taken: Mutex<Taken>,
}

#[derive(Debug)]
struct Taken {
    free: usize,
    /// Those who have any.
    by_client: HashMap<Client, usize>,
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Place {
    of: Arc<Places>,
    client: Client,
}

impl Places {
    pub(super) fn new(number: usize) -> Arc<Self> {
        let taken = Taken {
            free: number,
            by_client: HashMap::new(),
        };
        Arc::new(Self {
            taken: Mutex::new(taken),
        })
    }

    /// A place for this client; 429 if all are taken, or it has its share.
    pub(super) fn take(self: &Arc<Self>, client: Client) -> Result<Place, ApiError> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.free == 0 {
            return Err(ApiError::Overrun);
        }
        let free = taken.free;
        let of_client = taken.by_client.get(&client).copied().unwrap_or_default();
        if of_client >= free.saturating_mul(TIMES_FREE) {
            return Err(ApiError::ClientOverrun);
        }
        taken.by_client.insert(client, of_client + 1);
        taken.free -= 1;
        Ok(Place {
            of: Arc::clone(self),
            client,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.of.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.free += 1;
        if let Some(left) = taken.by_client.get_mut(&self.client) {
            *left -= 1;
            if *left == 0 {
                taken.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(number: u32) -> Client {
        Client::at(std::net::IpAddr::from(number.to_be_bytes()))
    }

    /// All places that a client gets.
    fn all_for(places: &Arc<Places>, number: u32) -> Vec<Place> {
        std::iter::from_fn(|| places.take(client(number)).ok()).collect()
    }

    #[test]
    fn one_client_gets_most_places_and_the_next_ones_share_the_rest() {
        let places = Places::new(64);
        let greedy = all_for(&places, 1);
        assert_eq!(greedy.len(), 48);
        let refused = places.take(client(1)).unwrap_err();
        assert!(matches!(refused, ApiError::ClientOverrun), "{refused}");
        assert_eq!(all_for(&places, 2).len(), 12, "given back at once");
        drop(greedy);
        assert_eq!(all_for(&places, 2).len(), 48);
    }

    #[test]
    fn a_single_place_is_for_whoever_comes_first() {
        let places = Places::new(1);
        let place = places.take(client(1)).unwrap();
        let refused = places.take(client(2)).unwrap_err();
        assert!(matches!(refused, ApiError::Overrun), "{refused}");
        drop(place);
        places.take(client(2)).unwrap();
    }

    proptest! {
        #[test]
        fn places_are_never_lost_and_a_client_without_one_gets_a_free_one(
            number in 1_usize..20,
            steps in prop::collection::vec((0_u32..4, any::<bool>()), 0..200),
        ) {
            let places = Places::new(number);
            let mut held: Vec<(u32, Place)> = Vec::new();
            for (who, takes) in steps {
                if takes {
                    let has = held.iter().filter(|(it, _)| *it == who).count();
                    match places.take(client(who)) {
                        Ok(place) => held.push((who, place)),
                        Err(_) => prop_assert!(held.len() == number || has > 0),
                    }
                } else if let Some(at) = held.iter().position(|(it, _)| *it == who) {
                    held.swap_remove(at);
                }
                prop_assert!(held.len() <= number);
                prop_assert_eq!(places.taken.lock().unwrap().free, number - held.len());
            }
            held.clear();
            prop_assert!(places.taken.lock().unwrap().by_client.is_empty());
        }
    }
}
