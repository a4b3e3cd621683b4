# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is killed: for each job how it is prepared, its command, what must be so when recover is
done, and that the same then succeeds. A snapshot that is left must be the cut, or be gone."""
import contextlib
import shutil

import domains
from tool import DONE, FAILED, NO_SPACE, NOT_FOUND
from victims import Writing, WritingOnce, beside

DISKS = ("--memory=none", "--quiesce=off")
LIVE = ("--memory=live", "--quiesce=off")


class Job:
    domain = "blank"
    place = None  # kind of repository that it works on
    slow = False
    interrupted = None  # as by Ctrl-C, once it has passed this point
    busy = False  # the domain writes all the time
    ends = (DONE,)  # how it may, undisturbed

    def __init__(self, name, **options):
        self.name = name
        for key, value in options.items():
            setattr(self, key, value)

    def prepare(self, shot):
        pass

    def args(self, shot):
        raise NotImplementedError

    def again(self, shot, records):
        """Whether after recover all is there for the same to be killed once more."""
        return False

    def finish(self, shot, records):
        """After recover: judge what is left, do the same again, clear all."""
        raise NotImplementedError

    def meanwhile(self, shot):
        return Writing(shot.domain, shot.name) if self.busy else contextlib.nullcontext()

    def ready(self, shot):
        shot.domain = shot.world.domain(self.domain)
        if self.place:
            shot.place = shot.world.place(self.place)
        shot.domain.write(shot.dice)
        shot.cut = shot.domain.sums()


def frozen(shot, record, cut=None):
    """The frozen images are the cut."""
    cut = cut or shot.cut
    for disk in record["disks"] if cut else ():
        found = domains.image_sha256(disk["frozen_image"], disk["frozen_format"], shot.world.top,
                                     share=True)
        assert found == cut[disk["target"]], f"{record['id']}: {disk['target']} is not the cut"


def drop(shot, record):
    shot.world.vmsnap.run("drop", shot.domain.name, "--snapshot", record["id"])


def create(shot, options=DISKS):
    """A new cut of what is there now."""
    shot.domain.write(shot.dice)
    shot.cut = shot.domain.sums()
    record = shot.world.vmsnap.create(shot.domain.name, *options)
    frozen(shot, record)
    return record


class Create(Job):
    options, below = DISKS, False

    def prepare(self, shot):
        if self.below:  # on an overlay that was kept, and stays so
            shot.below = create(shot)
            shot.world.vmsnap.run("export", shot.domain.name, "--to", shot.place, "--keep-overlays")
            stored(shot, self.place)
            shot.domain.write(shot.dice)
            shot.cut = shot.domain.sums()

    def args(self, shot):
        return ["create", shot.domain.name, *self.options]

    def again(self, shot, records):
        if len(records) > (1 if self.below else 0):
            return False
        shot.domain.write(shot.dice)
        shot.cut = shot.domain.sums()
        return True

    def finish(self, shot, records):
        vmsnap = shot.world.vmsnap
        records = [record for record in records if record["id"] != (shot.below or {}).get("id")]
        assert len(records) <= 1, records
        for record in records:
            assert record["status"] == "captured", record["status"]
            frozen(shot, record)
            drop(shot, record)
        drop(shot, create(shot, self.options))
        if self.below:
            vmsnap.run("commit", shot.domain.name)


def stored(shot, kind, new=1):
    """What a place has more than before is the cut, each of it; at least new of them are there."""
    world = shot.world
    added = [id for id in world.stored_ids(kind) if id not in world.known[kind]]
    assert len(added) >= new, f"{len(added)} snapshots more in {kind}, not {new}"
    for id in added:
        world.compare_stored(kind, id, shot.cut)
        world.known[kind][id] = shot.cut
    return added


class Export(Job):
    options, memory = (), DISKS

    def prepare(self, shot):
        create(shot, self.memory)

    def args(self, shot):
        return ["export", shot.domain.name, "--to", shot.place, *self.options]

    def again(self, shot, records):
        return any(record["status"] == "captured" for record in records)

    def finish(self, shot, records):
        world, name = shot.world, shot.domain.name
        world.judge(self.place)
        # what is there already is whole, and what is no longer on the host is there
        waiting = any(record["status"] == "captured" for record in records)
        stored(shot, self.place, 0 if waiting else 1)
        for record in records:
            assert record["status"] in ("captured", "exported")
            if record["status"] == "captured":
                frozen(shot, record)
                world.vmsnap.run(*self.args(shot))
            else:
                world.vmsnap.run("commit", name)
        stored(shot, self.place, 0)
        if not records:  # recover has ended it: once more from the begin
            create(shot, self.memory)
            world.vmsnap.run(*self.args(shot))
            stored(shot, self.place)
        for record in reversed(world.vmsnap.on_host(name)):
            world.vmsnap.run("commit", name, "--snapshot", record["id"])
        world.judge(self.place)


class GivenUp(Export):
    """Its overlays outgrow what they may take: they are merged instead."""
    options, ends = ("--growth=1M", "--limit-read=1M"), (DONE, NO_SPACE)

    def meanwhile(self, shot):
        return WritingOnce(shot.domain, shot.name, "export.exporting", 1 << 20)

    def again(self, shot, records):
        return False

    def finish(self, shot, records):
        world, name = shot.world, shot.domain.name
        world.judge(self.place)
        stored(shot, self.place, 0)
        for record in records:
            if "merge-begun" not in [note["code"] for note in record["notes"]]:
                frozen(shot, record)
            world.vmsnap.run("commit" if record["status"] == "exported" else "drop", name)
        export_one(shot, self.place)


class Commit(Job):
    def prepare(self, shot):
        create(shot)
        shot.world.vmsnap.run("export", shot.domain.name, "--to", shot.place, "--keep-overlays")
        stored(shot, self.place)
        shot.domain.write(shot.dice)

    def args(self, shot):
        return ["commit", shot.domain.name]

    def again(self, shot, records):
        return bool(records)

    def finish(self, shot, records):
        if not records:
            self.prepare(shot)
        shot.world.vmsnap.run(*self.args(shot))
        shot.world.judge(self.place)


class Drop(Job):
    options = DISKS

    def prepare(self, shot):
        create(shot, self.options)
        shot.domain.write(shot.dice)

    def args(self, shot):
        return ["drop", shot.domain.name]

    def again(self, shot, records):
        return bool(records)

    def finish(self, shot, records):
        for record in records:
            assert record["status"] == "captured"
            frozen(shot, record)
        if not records:
            self.prepare(shot)
        shot.world.vmsnap.run(*self.args(shot))


class Restore(Job):
    """As "copy", from a snapshot that every such shot uses. A restore that was killed leaves
    nothing, or all of it: recover knows."""
    options, memory, export = (), DISKS, ()

    def prepare(self, shot):
        world = shot.world
        if self.name not in world.sources:
            create(shot, self.memory)
            world.vmsnap.run("export", shot.domain.name, "--to", shot.place, *self.export)
            [id] = stored(shot, self.place)
            world.sources[self.name] = (shot.place, id, shot.cut)
        shot.source = world.sources[self.name]
        shot.beside = world.kept_beside()
        shot.folder = world.top / "copies"
        shot.folder.mkdir(exist_ok=True)
        shot.folder.chmod(0o711)

    def args(self, shot):
        place, id, _ = shot.source
        if self.place.startswith("images"):
            id = "latest"
        return ["restore", id, "--from", place, "--as", "copy", "--disks-to", shot.folder,
                *self.options]

    def again(self, shot, records):
        return domains.find("copy") is None and not domains.folder_files(shot.folder)

    def whole(self, shot, may_be_off=False):
        """All that it makes; and takes it away."""
        copy, cut = domains.find("copy"), shot.source[2]
        running = bool(copy.isActive())
        assert may_be_off or running == bool({"--memory", "--start"} & set(self.options)), "the copy does not run as it should"
        if running:
            assert domains.state(copy) == 1, copy.state()
            copy.destroy()
        paths = domains.sources(copy, inactive=True)
        for target, path in paths.items():
            format = "qcow2" if path.endswith(".qcow2") else "raw"
            assert domains.image_sha256(path, format, shot.world.top) == cut[target], target
        variables = domains.tree("copy").findtext("os/nvram")
        assert sorted([*paths.values(), *([variables] if variables else [])]) == [
            str(shot.folder / name) for name in domains.folder_files(shot.folder)]
        self.clear(shot)

    def clear(self, shot):
        assert sorted(beside("copy")) == sorted(shot.domain.beside())
        domains.remove("copy")
        for path in shot.folder.iterdir():
            path.unlink()

    def finish(self, shot, records):
        assert not records
        copy, files = domains.find("copy"), domains.folder_files(shot.folder)
        if copy is not None:  # it was whole when vmsnap was killed
            self.whole(shot, bool(shot.killed & {"qemu", "host"}) or "--start" in self.options)
        else:
            assert not files, f"recover left {files} of a restore"
            kept = shot.world.kept_beside()
            assert kept == shot.beside, f"recover left {set(kept) - set(shot.beside)} of a restore"
        shot.world.vmsnap.run(*self.args(shot))
        self.whole(shot)


class Init(Job):
    slow = True
    place = "new-dir"

    def prepare(self, shot):
        shot.place = shot.world.renew(self.place, False)

    def args(self, shot):
        return ["init", shot.place]

    def finish(self, shot, records):
        """A repository is refused to be made again; so is a key without one, saying what to do."""
        result = shot.world.vmsnap.start(*self.args(shot)).wait()
        assert result.status in (DONE, FAILED), result
        folder = shot.world.vmsnap.places[shot.place]["folder"]
        if not (folder / "config").exists():
            assert "remove keys/" in " ".join(result.err.split()), result
            shutil.rmtree(folder / "keys")
            shot.world.vmsnap.run(*self.args(shot))
        shot.world.judge(self.place)
        export_one(shot, self.place)


class Forget(Job):
    options = ()

    def prepare(self, shot):
        while len(shot.world.known[self.place]) < 3:
            export_one(shot, self.place)
        shot.forgotten = shot.dice.choice(list(shot.world.known[self.place]))

    def args(self, shot):
        return ["forget", shot.forgotten, "--from", shot.place, *self.options]

    def finish(self, shot, records):
        assert not records
        known = shot.world.known[self.place]
        shot.world.judge(self.place)
        found = set(shot.world.stored_ids(self.place))
        assert found in (set(known), set(known) - {shot.forgotten}), "a snapshot too few"
        result = shot.world.vmsnap.start(*self.args(shot)).wait()
        assert result.status == (DONE if shot.forgotten in found else NOT_FOUND), result
        del known[shot.forgotten]
        assert set(shot.world.stored_ids(self.place)) == set(known)
        self.compare_one(shot)

    def compare_one(self, shot):
        known = shot.world.known[self.place]
        shot.world.judge(self.place)
        id = shot.dice.choice(list(known))
        shot.world.compare_stored(self.place, id, known[id])


def export_one(shot, kind):
    create(shot)
    shot.world.vmsnap.run("export", shot.domain.name, "--to", shot.place)
    stored(shot, kind)


class Prune(Forget):
    def prepare(self, shot):
        super().prepare(shot)
        shot.world.vmsnap.run("forget", shot.forgotten, "--from", shot.place)
        del shot.world.known[self.place][shot.forgotten]

    def args(self, shot):
        return ["prune", "--max-unused=0", shot.place]

    def again(self, shot, records):
        return shot.hit

    def finish(self, shot, records):
        assert not records
        self.compare_one(shot)
        torn = shot.world.torn(self.place)
        shot.world.vmsnap.run(*self.args(shot))
        assert not any(path.exists() for path in torn), torn
        assert set(shot.world.stored_ids(self.place)) == set(shot.world.known[self.place])
        self.compare_one(shot)


class Recover(Job):
    """Of another job that was killed at a point first, so not every run has the same to do; or always
    at one point, together with its helpers."""
    at = None

    def prepare(self, shot):
        first = shot.choose(lambda dice: ("vmsnap", self.at) if self.at else
                            shot.matrix.aim(self.base, dice, "vmsnap"))
        self.base.ready(shot)
        self.base.prepare(shot)
        shot.strike(self.base, *first, *self.base.args(shot), forlorn=bool(self.at))

    def args(self, shot):
        return ["recover"]

    def finish(self, shot, records):
        self.base.finish(shot, records)

    def ready(self, shot):
        """As the other needs it."""


def all_jobs():
    cow = domains.cow_possible()
    frozen_guest = {"domain": "linux"}
    jobs = [
        Create("create"), Create("create-memory", options=LIVE),
        Create("create-off", domain="off"),
        Create("create-frozen", options=("--memory=none", "--quiesce=require"), **frozen_guest),
        Create("create-on-kept", below=True, place="dir"),
        Export("export", place="dir"), Export("export-memory", place="dir", memory=LIVE),
        Export("export-kept", place="dir", options=("--keep-overlays",)),
        Export("export-off", place="dir", domain="off"), Export("export-s3", place="s3"),
        Export("images", place="images-dir", options=("--format=qcow2",)),
        Export("images-s3", place="images-s3", options=("--format=qcow2",)),
        Export("images-parts", place="images-parts-s3", domain="big", options=("--format=qcow2",)),
        Commit("commit", place="dir"), Commit("commit-off", place="dir", domain="off"),
        Commit("commit-linux", place="dir", **frozen_guest),
        Drop("drop"), Drop("drop-off", domain="off"), Drop("drop-memory", options=LIVE),
        Restore("restore", place="source-dir", options=("--no-memory",)),
        Restore("restore-memory", place="source-dir", memory=LIVE, options=("--memory",)),
        Restore("restore-spool", place="source-dir", memory=LIVE, options=("--memory", "--spool")),
        Restore("restore-start", place="source-dir", options=("--no-memory", "--start")),
        Restore("restore-interrupted", place="source-dir", memory=LIVE, options=("--memory",),
                interrupted="restore.memory-next"),
        Restore("restore-images", place="images-source-dir", memory=LIVE, options=("--memory",),
                export=("--format=qcow2",)),
        Create("create-interrupted", options=LIVE, interrupted="create.capturing"),
        Create("create-beside", domain="beside"), Create("create-firmware", domain="firmware"),
        Create("create-narrow", domain="narrow", options=LIVE, interrupted="create.switched"),
        Export("export-narrow", domain="narrow", place="dir"), GivenUp("export-given-up", place="dir"),
        Drop("drop-pressed", domain="slow", slow=True, busy=True),
        Restore("restore-beside", domain="beside", place="source-dir", options=("--no-memory",)),
        Init("init"), Forget("forget", place="dir"), Prune("prune", place="dir"),
        Prune("prune-s3", place="s3"),
    ]
    if cow:
        jobs += [Create("create-cow", options=("--memory=cow", "--quiesce=off")),
                 Create("create-cow-frozen", options=("--memory=cow", "--quiesce=require"),
                        **frozen_guest),
                 Create("create-cow-interrupted", options=("--memory=cow", "--quiesce=off"),
                        interrupted="cow.migrating"),
                 Drop("drop-cow", options=("--memory=cow", "--quiesce=off"))]
    by = {job.name: job for job in jobs}
    for name in ("create", "export", "commit", "create-memory", "restore", "drop",
                 *(["create-cow"] if cow else [])):
        jobs.append(Recover(f"recover-{name}", base=by[name], domain=by[name].domain,
                            place=by[name].place))
    for name, at in (("export-narrow", "guard.paused:1"), ("create-firmware", "create.paused:1")):
        jobs.append(Recover(f"recover-{at.partition(':')[0]}", base=by[name], domain=by[name].domain,
                            place=by[name].place, at=at))
    return {job.name: job for job in jobs}
