//! What is a matter of time in a tunnel: when something is due, and what happens then.

use std::{pin::Pin, task::Context, time::Duration};

use tokio::time::{Instant, Sleep};

use super::{Pump, own};
use crate::{
    ir,
    tunnel::{
        flow::Flow,
        outcome::{Cause, Loss},
        passage::Place,
        phase::{LEAVING, Patience, Phase},
        pings::Silent,
        side::Side,
        stall::{self, Look},
    },
    ws::close,
};

/// An end because nothing came waits for a second look after this. When the process stood still (a virtual machine that was
/// moved), the timers of all tunnels fire at once, but the runtime learns of only 1,024 sockets at a time where bytes wait.
const SECOND_LOOK: Duration = Duration::from_millis(200);

impl<C: Side, B: Side> Pump<C, B> {
    /// When a side that nothing can be written to is read to its end, unless something comes until then. Not before what
    /// came from it is written. A second look, because the runtime learns of bytes that wait later than of a write that
    /// fails.
    fn gone_at(&self) -> Option<Instant> {
        let waits = |flow: &Flow, back: &Flow| {
            flow.is_broken() && !back.source_ended() && (back.is_broken() || back.is_flushed())
        };
        let waits = waits(&self.up, &self.down) || waits(&self.down, &self.up);
        let broken = self.doubts.as_ref()?.broken;
        broken.filter(|_| waits)?.checked_add(SECOND_LOOK)
    }

    /// Whether nothing can be due before the timer fires: an open tunnel whose activity only moves its deadline away.
    fn is_steady(&self) -> bool {
        let flows = [&self.up, &self.down];
        self.armed.is_some()
            && matches!(self.phase, Phase::Open)
            && self.pings.is_none()
            && self.doubts.as_ref().is_none_or(|it| it.broken.is_none())
            && flows.iter().all(|flow| flow.is_steady())
    }

    /// Since when no byte of the application moved that could have. Of what waits in the kernel for a slow side, too.
    fn idle_since(&self) -> Instant {
        let withheld = [self.up.withheld(), self.down.withheld()];
        let blocked = [self.up.blocked(), self.down.blocked()];
        withheld
            .into_iter()
            .chain(blocked)
            .flatten()
            .fold(self.active, Instant::max)
    }

    /// When a side counts as silent if nothing changes.
    fn silent(&self, policy: &ir::Policy) -> Option<Instant> {
        let idle = policy.timeouts.idle.value;
        let idle = idle.and_then(|idle| self.idle_since().checked_add(idle));
        let (up, down) = (&self.up, &self.down);
        let pings = self
            .pings
            .as_ref()
            .map(|pings| pings.deadline(up, down, &policy.keepalive));
        let look = self.last_look();
        let stalls = [up, down].map(|flow| stall::deadline(flow, look, policy));
        [idle, pings].into_iter().chain(stalls).flatten().min()
    }

    fn deadline(&self, policy: &ir::Policy) -> Option<Instant> {
        match self.phase {
            Phase::Open => {
                let flows = [&self.up, &self.down];
                let silent = self.silent(policy);
                let second_look = self.doubts.as_ref().and_then(|it| it.second_look);
                let second_look = second_look.map(|(_, at)| at);
                let silent = silent.max(silent.and(second_look));
                let rates = flows.map(Flow::resumes);
                let others = [self.lifetime, self.gone_at()];
                let others = others.into_iter().chain(rates).flatten();
                others.chain(silent).min()
            }
            Phase::Finishing(until) | Phase::Lingering(until) | Phase::Leaving(until) => {
                Some(until)
            }
            Phase::Ending(ref ending) => Some(ending.deadline()),
            Phase::Over => None,
        }
    }

    /// Looks at the clock, only when the timer fires. Whether that changed anything.
    pub(super) fn poll_timer(
        &mut self,
        cx: &mut Context<'_>,
        mut sleep: Pin<&mut Sleep>,
        policy: &ir::Policy,
    ) -> bool {
        if self.is_steady() && sleep.as_mut().poll(cx).is_pending() {
            return false;
        }
        while let Some(deadline) = self.deadline(policy) {
            if self.armed.is_none_or(|armed| armed > deadline) {
                sleep.as_mut().reset(deadline);
                self.armed = Some(deadline);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return false;
            }
            self.armed = None;
            let now = Instant::now();
            if now >= deadline {
                self.run_out(policy);
                return true;
            }
            if self.silent(policy).is_none_or(|silent| silent > now) {
                self.forget_second_look();
            }
        }
        false
    }

    /// The deadline of the phase has passed.
    fn run_out(&mut self, policy: &ir::Policy) {
        match self.phase {
            Phase::Open => self.run_out_open(policy),
            Phase::Finishing(_) => {
                self.linger();
            }
            Phase::Ending(ref mut ending) => {
                ending.patience = match ending.patience {
                    Patience::Message => {
                        self.down.put_close(ending.own, Place::FrameStart);
                        Patience::Client
                    }
                    Patience::Client => {
                        self.up.put_close(ending.own, Place::FrameStart);
                        Patience::Answers
                    }
                    Patience::Answers => {
                        self.linger();
                        return;
                    }
                };
            }
            Phase::Lingering(_) if !self.is_sent() && !self.is_ours() => {
                self.phase = Phase::Leaving(Instant::now() + LEAVING);
            }
            Phase::Lingering(_) | Phase::Leaving(_) | Phase::Over => {
                self.up.give_up();
                self.down.give_up();
                self.phase = Phase::Over;
            }
        }
    }

    /// Something is due in an open tunnel.
    fn run_out_open(&mut self, policy: &ir::Policy) {
        let now = Instant::now();
        if self.gone_at().is_some_and(|at| now >= at) {
            let broken = [self.up.broken_by(), self.down.broken_by()];
            for (loss, back) in broken.into_iter().zip([&mut self.down, &mut self.up]) {
                if let (Some(loss), false) = (loss, back.source_ended()) {
                    back.fail_source(loss);
                }
            }
            return;
        }
        self.look_for_stalls(policy, now);
        let idle = self.is_idle(policy, now);
        let stall = policy.limits.write_stall.value;
        let stalled = Some(Loss::WriteStall);
        let lost = if stall::is_over(&self.down, stall, now) {
            Some((Silent::Client, Cause::ClientLost, stalled))
        } else if stall::is_over(&self.up, stall, now) {
            Some((Silent::Backend, Cause::BackendLost, stalled))
        } else {
            let pings = self.pings.as_mut();
            let late = pings
                .and_then(|pings| pings.late(&mut self.up, &mut self.down, &policy.keepalive, now));
            late.map(|side| (side, Cause::PingTimeout, None))
        };
        let suspicion = match lost {
            _ if idle => Some(Cause::IdleTimeout),
            Some((_, cause, _)) => Some(cause),
            None => None,
        };
        let certain = self.is_certain(suspicion, now);
        if idle && certain {
            self.end(
                Cause::IdleTimeout,
                own(Cause::IdleTimeout, close::GOING_AWAY),
            );
        } else if self.lifetime.is_some_and(|end| now >= end) {
            self.end(
                Cause::MaxLifetime,
                own(Cause::MaxLifetime, close::SERVICE_RESTART),
            );
        } else if let (Some((side, cause, loss)), true) = (lost, certain) {
            self.lose(side, cause, loss);
        } else if let Some(pings) = &mut self.pings {
            pings.send(&mut self.up, &mut self.down, &policy.keepalive, now);
        }
    }

    /// The last look at a side that takes nothing.
    fn last_look(&self) -> Option<Look> {
        self.doubts.as_ref()?.stall
    }

    /// Looks at a side that takes nothing of what Hawser has for it: whether it takes something of what waits in the
    /// kernel. If it does not until the next look, it is stalled.
    fn look_for_stalls(&mut self, policy: &ir::Policy, now: Instant) {
        let last = self.last_look();
        let is_due = |flow: &Flow| {
            stall::next_look(flow, last, policy).is_some_and(|next_look| now >= next_look)
        };
        let waits = |pump: &Self| is_due(&pump.up) || is_due(&pump.down);
        let is_due = waits(self);
        if !is_due && !self.may_end_blocked(policy, now) {
            return;
        }
        let (look, [client, backend]) = stall::look(&self.client, &self.backend, last, now);
        if client {
            self.down.progressed(now);
        }
        if backend {
            self.up.progressed(now);
        }
        self.doubts.get_or_insert_default().stall = Some(look);
        if is_due {
            self.set_stalled(
                last.is_some() && waits(self),
                policy.limits.write_stall.value,
            );
        }
    }

    /// Whether a side that takes nothing is about to be lost, or the tunnel to be idle: it is asked once more, since some of
    /// what waits in the kernel may have moved since the last look.
    fn may_end_blocked(&self, policy: &ir::Policy, now: Instant) -> bool {
        let flows = [&self.up, &self.down];
        let limit = policy.limits.write_stall.value;
        flows.iter().any(|flow| flow.blocked().is_some())
            && (self.is_idle(policy, now)
                || flows.iter().any(|flow| stall::is_over(flow, limit, now)))
    }

    fn is_idle(&self, policy: &ir::Policy, now: Instant) -> bool {
        let idle = policy.timeouts.idle.value;
        idle.is_some_and(|idle| now.saturating_duration_since(self.idle_since()) >= idle)
    }

    /// Tells the kernel what is new.
    pub(super) fn set_stalled(&mut self, stalled: bool, limit: Option<Duration>) {
        if std::mem::replace(&mut self.stalled, stalled) == stalled {
            return;
        }
        if stalled {
            stall::begins(&self.client, &self.backend, limit);
        } else {
            stall::over(&self.client, &self.backend, limit);
        }
    }

    /// Whether what seems silent is so at the second look, too.
    fn is_certain(&mut self, suspicion: Option<Cause>, now: Instant) -> bool {
        let Some(suspicion) = suspicion else {
            self.forget_second_look();
            return false;
        };
        let doubts = self.doubts.get_or_insert_default();
        // Of another suspicion it is the first look.
        let known = doubts.second_look.filter(|(cause, _)| *cause == suspicion);
        let (_, at) = *doubts
            .second_look
            .insert(known.unwrap_or((suspicion, now + SECOND_LOOK)));
        now >= at
    }

    fn forget_second_look(&mut self) {
        if let Some(doubts) = &mut self.doubts {
            doubts.second_look = None;
        }
    }
}
