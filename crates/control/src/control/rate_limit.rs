//! Limits of requests, from the one door.

use alcove_domain::rate_limit::{Limiter, RateLimit, Standing, Window};
use jiff::Timestamp;

use super::Control;
use crate::Counted;

impl Control {
    /// Counts a request. None where there is no such limit.
    pub fn count_request(&self, limiter: Limiter, who: &Counted) -> Option<Standing> {
        self.look_at_window(limiter, who, Window::hit)
    }

    /// How somebody stands with a limit, without a request.
    pub fn rate_standing(&self, limiter: Limiter, who: &Counted) -> Option<Standing> {
        self.look_at_window(limiter, who, |window, limit, now| {
            window.standing(limit, now)
        })
    }

    fn look_at_window(
        &self,
        limiter: Limiter,
        who: &Counted,
        look: impl FnOnce(&mut Window, RateLimit, Timestamp) -> Standing,
    ) -> Option<Standing> {
        let shared = &self.shared;
        let limit = *shared.settings.rate_limits.get(&limiter)?;
        let now = shared.clock.now();
        shared.rate_counters.look(limiter, limit, who, now, look)
    }
}
