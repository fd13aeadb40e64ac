//! One level's seats and queues: who may go on now, who waits, and who is next.
//!
//! Each flow is dealt a few queues (shuffle sharding) and waits in the shortest of them, so that a flood fills its own
//! queues and meets others in few. The next to go is of the queue that has been served least (start-time fair
//! queueing): a queue that was idle starts where the others are, not with what it didn't use.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What a level may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// How many seats there are.
    pub(crate) seats: u32,
    /// How many queues; 0 refuses whoever finds no seat.
    pub(crate) queues: usize,
    /// How many of them a flow is dealt.
    pub(crate) hand: usize,
    /// How many requests wait in each.
    pub(crate) length: usize,
}

/// A level.
pub(crate) struct Level(Mutex<State>);

struct State {
    bounds: Bounds,
    taken: u32,
    queues: Vec<Queue>,
    /// How much the queue that went last had been served: where an idle one starts again.
    now: f64,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiter>,
    /// Seats that are taken by its requests.
    taken: u32,
    /// Seconds of seats that it had, and what its running ones are guessed to take.
    served: f64,
}

struct Waiter {
    seats: u32,
    turn: oneshot::Sender<Seats>,
}

/// Seats that a request has; dropping them lets others go on.
pub(crate) struct Seats {
    level: Option<Arc<Level>>,
    seats: u32,
    queue: usize,
    since: Instant,
}

/// What a request is guessed to take before it has shown it.
const GUESS: f64 = 0.01;

impl Level {
    pub(crate) fn new(bounds: Bounds) -> Arc<Level> {
        let state = State {
            bounds,
            taken: 0,
            queues: queues(bounds.queues),
            now: 0.0,
        };
        Arc::new(Level(Mutex::new(state)))
    }

    /// Changes what it may do. Who waits goes on waiting.
    pub(crate) fn rebound(self: &Arc<Self>, bounds: Bounds) {
        let mut state = self.0.lock();
        if state.bounds == bounds {
            return;
        }
        state.bounds = bounds;
        let old = std::mem::replace(&mut state.queues, queues(bounds.queues));
        let count = state.queues.len();
        for (index, queue) in old.into_iter().enumerate() {
            let new = &mut state.queues[index % count];
            new.waiting.extend(queue.waiting);
            new.taken += queue.taken;
            new.served = new.served.max(queue.served);
        }
        let given = self.dispatch(&mut state);
        drop(state);
        drop(given);
    }

    /// Waits for this many seats; none when the flow's queue is full, or when nobody may wait here.
    pub(crate) async fn enter(self: Arc<Self>, flow: u64, seats: u32) -> Option<Seats> {
        let turn = {
            let mut state = self.0.lock();
            let queue = state.shortest(flow);
            let idle = state.queues.iter().all(|queue| queue.waiting.is_empty());
            if idle && state.has(seats) {
                state.start(queue, seats);
                return Some(self.seats(queue, seats));
            }
            let bounds = state.bounds;
            if bounds.queues == 0 || state.queues[queue].waiting.len() >= bounds.length {
                return None;
            }
            let (turn, mine) = oneshot::channel();
            state.join(queue, Waiter { seats, turn });
            let given = self.dispatch(&mut state);
            drop(state);
            drop(given);
            mine
        };
        turn.await.ok()
    }

    fn seats(self: &Arc<Self>, queue: usize, seats: u32) -> Seats {
        Seats {
            level: Some(Arc::clone(self)),
            seats,
            queue,
            since: Instant::now(),
        }
    }

    /// Lets as many go on as there are seats for. What comes back belongs to those who gave up: it must not be dropped
    /// before the lock is.
    fn dispatch(self: &Arc<Self>, state: &mut State) -> Vec<Seats> {
        let mut given_up = Vec::new();
        while let Some(queue) = state.next() {
            let Some(waiter) = state.queues[queue].waiting.pop_front() else {
                break;
            };
            if waiter.turn.is_closed() {
                continue;
            }
            state.start(queue, waiter.seats);
            given_up.extend(waiter.turn.send(self.seats(queue, waiter.seats)).err());
        }
        given_up
    }
}

fn queues(count: usize) -> Vec<Queue> {
    (0..count.max(1)).map(|_| Queue::default()).collect()
}

impl State {
    /// Whether so many may be taken. Who is wider than the level goes alone.
    fn has(&self, seats: u32) -> bool {
        self.taken == 0 || self.taken + seats <= self.bounds.seats
    }

    /// The queue, of those dealt to the flow, in which least is going on.
    fn shortest(&self, flow: u64) -> usize {
        let hand = deal(flow, self.queues.len(), self.bounds.hand.max(1));
        let load = |queue: &Queue| queue.waiting.iter().map(|waiter| waiter.seats).sum::<u32>() + queue.taken;
        hand.into_iter()
            .min_by_key(|index| load(&self.queues[*index]))
            .unwrap_or(0)
    }

    fn join(&mut self, queue: usize, waiter: Waiter) {
        let now = self.now;
        let queue = &mut self.queues[queue];
        if queue.waiting.is_empty() && queue.taken == 0 {
            queue.served = queue.served.max(now);
        }
        queue.waiting.push_back(waiter);
    }

    /// The queue that goes next, when its first request has its seats.
    fn next(&mut self) -> Option<usize> {
        for queue in &mut self.queues {
            while queue.waiting.front().is_some_and(|waiter| waiter.turn.is_closed()) {
                queue.waiting.pop_front();
            }
        }
        let waiting = self
            .queues
            .iter()
            .enumerate()
            .filter(|(_, queue)| !queue.waiting.is_empty());
        let (index, queue) = waiting.min_by(|(_, a), (_, b)| a.served.total_cmp(&b.served))?;
        let seats = queue.waiting.front()?.seats;
        self.has(seats).then_some(index)
    }

    fn start(&mut self, queue: usize, seats: u32) {
        self.taken += seats;
        let now = self.now;
        let queue = &mut self.queues[queue];
        if queue.waiting.is_empty() && queue.taken == 0 {
            queue.served = queue.served.max(now);
        }
        queue.taken += seats;
        self.now = queue.served.max(now);
        queue.served += GUESS * f64::from(seats);
    }

    fn end(&mut self, queue: usize, seats: u32, seconds: f64) {
        self.taken = self.taken.saturating_sub(seats);
        let count = self.queues.len();
        let queue = &mut self.queues[queue % count];
        queue.taken = queue.taken.saturating_sub(seats);
        queue.served += (seconds - GUESS) * f64::from(seats);
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        let Some(level) = self.level.take() else { return };
        let mut state = level.0.lock();
        state.end(self.queue, self.seats, self.since.elapsed().as_secs_f64());
        let given_up = level.dispatch(&mut state);
        drop(state);
        drop(given_up);
    }
}

/// Deals `hand` different cards from a deck, as the hash has it.
fn deal(mut hash: u64, deck: usize, hand: usize) -> Vec<usize> {
    let mut cards: Vec<usize> = Vec::with_capacity(hand);
    for dealt in 0..hand.min(deck) {
        let left = (deck - dealt) as u64;
        let mut card = usize::try_from(hash % left).unwrap_or(0);
        hash /= left;
        // The card among those that are still there.
        let mut below: Vec<usize> = cards.clone();
        below.sort_unstable();
        for taken in below {
            card += usize::from(taken <= card);
        }
        cards.push(card);
    }
    cards
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        seats: 2,
        queues: 8,
        hand: 2,
        length: 3,
    };

    #[test]
    fn a_hand_has_different_cards_of_the_deck() {
        for hash in [0, 1, 12_345, u64::MAX] {
            let mut cards = deal(hash, 16, 6);
            cards.sort_unstable();
            cards.dedup();
            assert_eq!(cards.len(), 6);
            assert!(cards.iter().all(|card| *card < 16));
        }
        assert_eq!(deal(7, 3, 9).len(), 3);
    }

    #[tokio::test]
    async fn seats_come_back() {
        let level = Level::new(BOUNDS);
        let one = level.clone().enter(1, 1).await.unwrap();
        let two = level.clone().enter(1, 1).await.unwrap();
        let third = tokio::spawn(level.clone().enter(1, 1));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!third.is_finished());
        drop(one);
        let third = third.await.unwrap().unwrap();
        drop((two, third));
        assert_eq!(level.0.lock().taken, 0);
    }

    #[tokio::test]
    async fn without_queues_nobody_waits() {
        let level = Level::new(Bounds { queues: 0, ..BOUNDS });
        let taken = (level.clone().enter(1, 1).await, level.clone().enter(2, 1).await);
        assert!(level.clone().enter(3, 1).await.is_none());
        drop(taken);
        assert!(level.clone().enter(3, 1).await.is_some());
    }

    #[tokio::test]
    async fn a_full_queue_refuses_its_own_flow() {
        let level = Level::new(Bounds { hand: 1, ..BOUNDS });
        let _running = (level.clone().enter(0, 1).await, level.clone().enter(0, 1).await);
        let _waiting: Vec<_> = (0..3).map(|_| tokio::spawn(level.clone().enter(0, 1))).collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(level.clone().enter(0, 1).await.is_none());
        let other = tokio::spawn(level.clone().enter(1, 1));
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!other.is_finished(), "another flow's queue has room");
        other.abort();
    }

    #[tokio::test]
    async fn a_flood_does_not_go_first() {
        let level = Level::new(Bounds {
            seats: 1,
            length: 100,
            hand: 1,
            ..BOUNDS
        });
        let running = level.clone().enter(0, 1).await.unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut all = Vec::new();
        for flow in [0, 0, 0, 0, 1] {
            let (level, order) = (level.clone(), order.clone());
            all.push(tokio::spawn(async move {
                let seats = level.enter(flow, 1).await.unwrap();
                order.lock().push(flow);
                drop(seats);
            }));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(running);
        for one in all {
            one.await.unwrap();
        }
        assert_eq!(
            order.lock()[0],
            1,
            "the flow that had nothing yet goes first: {:?}",
            order.lock()
        );
    }

    #[tokio::test]
    async fn who_gives_up_leaves_no_seat_taken() {
        let level = Level::new(Bounds { seats: 1, ..BOUNDS });
        let running = level.clone().enter(0, 1).await.unwrap();
        let waiting = tokio::spawn(level.clone().enter(1, 1));
        tokio::time::sleep(Duration::from_millis(20)).await;
        waiting.abort();
        let _ = waiting.await;
        drop(running);
        assert!(level.clone().enter(2, 1).await.is_some());
        assert_eq!(level.0.lock().taken, 0);
    }
}
