//! Starting, running and stopping the sync of a replica.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use sync_core::driver::{Driver, DriverStatus, EngineSlot, Observer, Parts};
use sync_core::engine::{Direction, Goal, Phase};
use sync_core::error::{Error, ErrorKind, Result};
use sync_core::model::{Epoch, Reset, ResetReason};
use sync_core::replica::Context;
use tokio::sync::watch;

use super::{Replica, Running};

impl Replica {
    async fn start_driver(&self) -> Result<Driver> {
        let transport = self.0.transport.clone().ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidInput,
                "this replica was opened without a server to sync with",
            )
        })?;
        {
            let listeners = &self.0.listeners;
            let so_far = listeners.statistics.borrow().clone();
            *listeners.before.lock().unwrap_or_else(PoisonError::into_inner) = so_far;
            listeners.catches_up.store(false, Ordering::Relaxed);
        }
        let parts = Parts {
            storage: Arc::clone(&self.0.storage),
            transport,
            environment: Arc::clone(&self.0.environment),
            observer: Arc::clone(&self.0.listeners) as Arc<dyn Observer>,
        };
        let mut options = self.0.options.clone();
        options.token.clone_from(&self.token());
        let driver = Driver::start(parts, options).await?;
        if self.0.options.token_provider.is_some() {
            // This driver has it, and later ones call the provider.
            *self.token() = None;
        }
        Ok(driver)
    }

    /// Syncs from now on: pushes local edits, pulls changes, follows live, and reconnects whenever
    /// the link is lost, as far as its [direction](crate::ReplicaBuilder::direction) allows.
    ///
    /// # Errors
    /// `InvalidInput` without a server; `Busy`, naming the holder, if another living process, or
    /// another replica over the same storage, runs the sync of this replica; else as the storage.
    pub async fn start(&self) -> Result<()> {
        let mut driver = self.0.driver.lock().await;
        if driver.is_none() {
            *driver = Some(Running { driver: self.start_driver().await?, stays: true, runs: 0 });
        }
        if let Some(running) = driver.as_mut() {
            running.stays = true;
            running.runs = running.driver.run(self.0.direction.goal(true)).await?;
        }
        Ok(())
    }

    /// Pushes and pulls, and returns when the replica is in sync: nothing waits, and everything up
    /// to the head is applied. A replica of one [direction](crate::ReplicaBuilder::direction) syncs
    /// only in that direction.
    ///
    /// # Errors
    /// The refusal, or the last failure after [several
    /// attempts](crate::ReplicaBuilder::max_failures): a replica that is started keeps retrying,
    /// one that is not does not. Else as [`Self::start`].
    pub async fn sync_now(&self) -> Result<()> {
        self.run_once(self.0.direction.goal(false)).await
    }

    /// Pushes, and returns when nothing waits to be pushed.
    ///
    /// # Errors
    /// `InvalidInput` if its direction is to pull; else as [`Self::sync_now`].
    pub async fn push(&self) -> Result<()> {
        self.allows(Direction::Push)?;
        self.run_once(Goal { push: true, pull: false, live: false }).await
    }

    /// Pulls, and returns when everything up to the head is applied.
    ///
    /// # Errors
    /// `InvalidInput` if its direction is to push; else as [`Self::sync_now`].
    pub async fn pull(&self) -> Result<()> {
        self.allows(Direction::Pull)?;
        self.run_once(Goal { push: false, pull: true, live: false }).await
    }

    fn allows(&self, wanted: Direction) -> Result<()> {
        let is = self.0.direction;
        if is == wanted || is == Direction::Both {
            return Ok(());
        }
        let message =
            format!("this replica was opened to {is} only; open it with the direction `both`");
        Err(Error::new(ErrorKind::InvalidInput, message).during(wanted.as_str()))
    }

    async fn run_once(&self, goal: Goal) -> Result<()> {
        let _turn = self.0.turn.lock().await;
        let mut driver = self.0.driver.lock().await;
        let (status, runs, stays) = match driver.as_mut() {
            Some(running) => {
                running.runs = running.driver.run(self.0.direction.goal(true)).await?;
                (running.driver.status(), running.runs, true)
            }
            None => {
                let started = self.start_driver().await?;
                let runs = started.run(goal).await?;
                let status = started.status();
                *driver = Some(Running { driver: started, stays: false, runs });
                (status, runs, false)
            }
        };
        drop(driver);
        let result = self.wait(status, runs, goal.push, true).await;
        if !stays {
            let mut driver = self.0.driver.lock().await;
            // Another call may have started a driver that stays meanwhile.
            if let Some(running) = driver.take_if(|r| !r.stays) {
                running.driver.stop().await;
            }
        }
        result
    }

    /// Returns when the replica is in sync, however many attempts fail before.
    ///
    /// # Errors
    /// `InvalidInput` if it is not started; the refusal if the sync was refused.
    pub async fn wait_until_in_sync(&self) -> Result<()> {
        let running = self.0.driver.lock().await.as_ref().map(|r| (r.driver.status(), r.runs));
        let (status, runs) = running.ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "the sync of this replica was not started")
        })?;
        self.wait(status, runs, self.0.direction.pushes(), false).await
    }

    async fn wait(
        &self,
        mut driver: watch::Receiver<DriverStatus>,
        runs: u64,
        pushed: bool,
        gives_up: bool,
    ) -> Result<()> {
        let mut commits = self.0.storage.commits();
        loop {
            commits.borrow_and_update();
            let status = driver.borrow_and_update().clone();
            let unknown = || Error::new(ErrorKind::Internal, "the sync failed without an error");
            let is_fresh = status.runs >= runs;
            if is_fresh && status.progress.phase == Phase::InSync {
                let outbox = self.0.storage.state().await?.outbox(self.scope());
                if !pushed || outbox.pending + outbox.in_flight == 0 {
                    return Ok(());
                }
            }
            let refused = is_fresh && status.progress.refused.is_some();
            let tired = gives_up && is_fresh && self.0.listeners.is_failing(&status);
            if refused || tired {
                return Err(status.last_error.unwrap_or_else(unknown));
            }
            tokio::select! {
                changed = driver.changed() => if changed.is_err() {
                    return Err(Error::new(ErrorKind::Closed, "the sync was stopped"));
                },
                _ = commits.changed() => {}
            }
        }
    }

    /// Stops syncing. Local reads and writes continue to work.
    pub async fn stop(&self) {
        if let Some(running) = self.0.driver.lock().await.take() {
            running.driver.stop().await;
        }
    }

    /// Discards the replica's position: the next sync pulls everything again and detects what was
    /// deleted. Unsynced edits are kept.
    ///
    /// # Errors
    /// `Busy` if another process, or another replica over the same storage, runs the sync of this
    /// replica; else as the storage.
    pub async fn reset(&self) -> Result<()> {
        let mut driver = self.0.driver.lock().await;
        let stayed = match driver.take() {
            Some(running) => {
                running.driver.stop().await;
                running.stays
            }
            None => false,
        };
        let storage = &self.0.storage;
        let slot = EngineSlot::take(storage, &self.0.options.holder)?;
        let lease = storage.claim(self.0.options.holder.clone()).await?;
        let cx = Context {
            now: self.0.environment.now(),
            resolvers: self.0.options.resolvers.clone(),
            lease,
        };
        let reset = Reset { epoch: Epoch([0; 16]), reason: ResetReason::Requested };
        let done = storage.reset(cx, self.scope().clone(), reset).await;
        storage.release(lease).await?;
        drop(slot);
        done?;
        drop(driver);
        if stayed {
            self.start().await?;
        }
        Ok(())
    }
}
