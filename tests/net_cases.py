"""What tests/net.py runs before and after a change of structure, and what may differ."""

# What may differ, as "FILE VALUE" or "FILE only SIDE", and why. Everything else must be the same.
REPORTS = {
    "*/comparison/report.* content": "holds seconds; of one and the same runs it must be the same, see `Case._report`",
    "*/comparison/sweep.* content": "likewise",
}
ALLOWED = REPORTS | {
    "* *seconds": "the clock: result.json, state.pt, scores.csv, and classification's record.safetensors",
    "* *steps_per_second": "the clock: result.json, scores.csv",
    "*score/seconds_to_perfect*": "the clock: classification",
    "*/record.safetensors elapsed": "the clock: classification",
    "*time/fps*": "the clock: rl",
    "* *peak_memory_mb": "the process: result.json, state.pt, scores.csv",
    "*/state.pt counters/mark/*": "event files, whose names hold time and process; sizes, which hold time/fps's digits",
    "*/step-*/manifest.json sha256/*": "sums of the files above, whose values are compared",
    "*/environment.json commit": "the sides are two commits",
    "*/comparison/logs/* content": "progress bars, paths",
    "loaded.json record/*": "counts and games are no network any more; checkpoints hold them as before",
    "loaded.json target/*": "likewise the hash of what is probed",
    "*/comparison/budget only before": "no longer written",
    "*/comparison/runs/*.json only after": "written in its place",
}

# Case, command, and what else: report the comparison, take the run over, or stop it after its last step. The commands
# of a case run one after another in one folder. The longest cases come first, the others fill the gaps.
COMMANDS = (
    ("compare/gan", "compare gan/sort_of_clevr --seeds 2", "report"),
    (
        "compare/location",
        "compare vision/location --budget macs --seeds 1 --arms gap gap_coord --tasks location recognition",
        "report",
    ),
    ("compare/sweep", "compare sweep.yaml --sweep", "report"),
    ("gan/sort_of_clevr", "gan --coord", "take gan/sort_of_clevr/coord"),  # the plain arm: compare/gan
    ("gan/sort_of_clevr", "vision --task position --target runs/smoke/gan/sort_of_clevr/coord/seed-0", ""),
    ("gan/sort_of_clevr", "video runs/smoke/gan/sort_of_clevr/coord/seed-0 --device cpu", ""),
    ("gan/lsun_small", "data.stand_in data --images 2100 --size 64", ""),
    ("gan/lsun_small", "gan --config gan/lsun_small --coord --data-root data --category drawn_bedroom", ""),
    ("vae/sort_of_clevr", "vae --coord", "take vae/sort_of_clevr/coord"),
    ("rl/mspacman", "rl --coord", "take rl/mspacman/coord"),
    ("rl/mspacman", "rl --no-coord --heads actor", ""),
    ("rl/mspacman", "rl --coord --restart sb3 --name sb3", ""),
    # Samples of this one cost too much to be scored; the published coordinate network's steps are in test_pins.py.
    ("gan/sort_of_clevr_paper", "gan --config gan/sort_of_clevr_paper --no-coord", "stop gan/sort_of_clevr_paper/conv"),
    ("gan/rooms", "gan --config gan/rooms --coord", ""),
    ("vision/classification", "vision --task classification --coord", "take vision/classification/uniform/coord"),
    ("vision/regression", "vision --task regression --coord", ""),
    ("vision/rendering", "vision --task rendering --coord", ""),
    ("vision/rendering", "vision --task rendering --split quadrant --no-coord", ""),
    ("vision/position", "vision --task position --target image", "take vision/position/image"),
    ("vision/position", "vision --task position --target vgg16 --weights random", ""),
    ("vision/padding", "vision --task padding --arm zeros", "take vision/padding/zeros"),
    ("vision/padding", "vision --task padding --arm circular_coord", ""),
    ("vision/location", "vision --task location --arm permute", "take vision/location/location/permute"),
    ("vision/location", "vision --task location --arm permute --evaluate", ""),
    ("vision/location", "vision --task location --arm gap_coord --asks recognition", ""),
    ("vision/shift", "vision --task shift --arm loss_shifted", "take vision/shift/loss_shifted"),
    ("vision/shift", "vision --task shift --arm plain_coord", ""),
    ("vision/red_green", "vision --task red_green --arm full", "take vision/red_green/full"),
    ("vision/red_green", "vision --task red_green --arm zeros_coord", ""),
    ("vision/neurons", "vision --task neurons --arm zeros", "take vision/neurons/shapes/zeros"),
    ("vision/neurons", "vision --task neurons --data rooms --arm circular_coord", ""),
)
SMOKE = ("--smoke", "--device", "cpu", "--precision", "32")
NO_SMOKE = ("video", "data.stand_in")  # commands without these flags
INEXACT = "rl"  # the study whose runs do not go on bit for bit: its emulators start new games
SWEEP = """\
study: vision
experiment: {task: classification}
arms: {coord: {coord: true}}
seeds: [0]
sweep: {coord: {lr: [0.001, 0.01]}}
"""
LOAD = """\
import hashlib, json, sys
import sandbox
loaded = sandbox.load(sys.argv[1], "cpu")
found = {"step": loaded.step, "config": loaded.config.model_dump(mode="json")}
for name, network in loaded.networks.items():
    for key, value in network.state_dict().items():
        found[f"{name}/{key}"] = hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
picture, scores = loaded.study.preview()
found |= {"picture": hashlib.sha256(picture.tobytes()).hexdigest(), **scores}
open("loaded.json", "w").write(json.dumps(found))
"""
