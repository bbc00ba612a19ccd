"""Recipes: every mistake named with its key, names that lead somewhere, files found, nothing lost."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from toolkit import recipe
from toolkit.errors import RecipeError
from toolkit.recipe import Contestant, Recipe, contestants, dump, fingerprint, load, parse, read_yaml

MINE = Path("somewhere/mine.yaml")

SMALL: dict[str, Any] = {
    "name": "mine",
    "base": "some-model",
    "data": {"rows": {"source": "rows.jsonl"}, "pairs": {"source": "pairs.jsonl"}},
    "stages": [
        {"name": "one", "method": "sft", "data": "rows"},
        {"name": "two", "method": "dpo", "data": "pairs", "start": "one"},
    ],
    "scoring": {"examples": "rows"},
}


def changed(**changes: Any) -> dict[str, Any]:
    """The small recipe with some dotted keys (`__` for the dot) set."""
    raw = copy.deepcopy(SMALL)
    for key, value in changes.items():
        place: Any = raw
        *parents, last = key.split("__")
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        place[int(last) if isinstance(place, list) else last] = value
    return raw


def mistakes(raw: dict[str, Any]) -> list[str]:
    with pytest.raises(RecipeError) as raised:
        parse(raw, MINE)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"{MINE}: ") for line in lines)
    return [line.removeprefix(f"{MINE}: ") for line in lines]


def test_the_small_recipe_is_fine():
    assert parse(SMALL, MINE).name == "mine"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (changed(bas="x"), "bas: unknown key; did you mean `base`?"),
        (changed(stages__0__trainr={}), "stages.0.trainr: unknown key; did you mean `trainer`?"),
        (changed(data__rows__limitt=3), "data.rows.limitt: unknown key; did you mean `limit`?"),
        (
            changed(scoring__generation__max_new_token=3),
            "scoring.generation.max_new_token: unknown key; did you mean `max_new_tokens`?",
        ),
        (
            changed(contestants={"x": {"endpoint": {"url": "http://h/v1", "model": "m", "timeot": 1}}}),
            "contestants.x.endpoint.timeot: unknown key; did you mean `timeout`?",
        ),
        (
            changed(arena__zzz=1),
            "arena.zzz: unknown key; known keys: claims, contestants, goal, pairing",
        ),
        (
            changed(stages__0__adapter={"r": 0}),
            "stages.0.adapter.r: Input should be greater than or equal to 1",
        ),
        (
            changed(stages__0__adapter="lora"),
            "stages.0.adapter: should be options such as `{r: 16}`, or `none` to train all weights",
        ),
        (changed(stages="one"), "stages: should be a list"),
        (changed(data=["rows"]), "data: should be a mapping of keys to values"),
        (changed(scoring="rows"), "scoring: should be a mapping of keys to values"),
        (changed(name=3), "name: should be text; put it in quotes"),
        (
            changed(name="my recipe"),
            "name: a name is letters, digits, `.`, `_`, `-`, at most 64, and starts with a letter or digit",
        ),
        (changed(scoring={}), "scoring.examples: is required"),
        (
            changed(contestants={"../up": {}}),
            "contestants.../up: a name is letters, digits, `.`, `_`, `-`, at most 64, "
            "and starts with a letter or digit",
        ),
        (
            changed(contestants={"x": {"stage": "one", "model": "m"}}),
            "contestants.x: give only one of stage, model (with an adapter), adapter, endpoint, answers",
        ),
        (changed(stages__1__name="one"), "stages: stage names must be distinct and not `base`: one"),
        (changed(stages__0__name="base"), "stages: stage names must be distinct and not `base`: base"),
        (
            changed(stages__0__method="stf"),
            "stages.0.method: Input should be 'text', 'sft', 'dpo', 'orpo', 'kto', "
            "'reward', 'rloo' or 'grpo'",
        ),
        (changed(stages__0__data="row"), "stages.0.data: no data set is named `row`; did you mean `rows`?"),
        (changed(stages__1__heldout="zz"), "stages.1.heldout: no data set is named `zz`; known: rows, pairs"),
        (
            changed(stages__0__start="two"),
            "stages.0.start: no earlier stage is named `two`; known: base",
        ),
        (
            changed(scoring__examples="pair"),
            "scoring.examples: no data set is named `pair`; did you mean `pairs`?",
        ),
        (
            changed(contestants={"x": {"stage": "tow"}}),
            "contestants.x.stage: no stage is named `tow`; did you mean `two`?",
        ),
        (
            changed(arena__contestants=["basse", "two"]),
            "arena.contestants: no contestant is named `basse`; did you mean `base`?",
        ),
        (
            changed(arena__contestants=["base", "base"]),
            "arena.contestants: name two or more, each of them once",
        ),
        (
            changed(arena={"contestants": ["base", "one"], "claims": [["two", "one"]]}),
            "arena.claims: no contestant in the arena is named `two`; known: base, one",
        ),
        (
            changed(arena__claims=[["two", "two"]]),
            "arena.claims: two is against itself; name another one",
        ),
        (
            changed(scoring__metrics=["rouge", "bleu", "rouge"]),
            "scoring: metrics: rouge is there twice; keep one of them",
        ),
        (
            changed(contestants={"x": {"prompt": [{"role": "system", "content": " "}]}}),
            "contestants.x: prompt: one of its turns is empty; write it, or leave it out",
        ),
        (
            changed(judge={"pairs": "baseline"}),
            "judge.baseline: name the contestant that the others are compared with",
        ),
        (
            changed(judge={"baseline": "base"}),
            "judge.baseline: no part of `pairs: all`; say `pairs: baseline`, or leave it out",
        ),
        (
            changed(judge={"baseline": "thre"}),
            "judge.baseline: no contestant is named `thre`; known: base, base-fewshot, one, two",
        ),
        (changed(scoring=None, judge={}), "judge: needs `scoring.examples`, the prompts to judge on"),
        (
            changed(contestants={"two": {"stage": "two"}}, judge={}),
            "judge: a battle takes two contestants, and there is only `two`; name another in "
            "`contestants`, or leave the judge out",
        ),
    ],
)
def test_one_mistake_is_one_line(raw, message):
    assert mistakes(raw) == [message]


def test_all_mistakes_of_form_are_listed_at_once():
    raw = changed(bas="x", stages__0__trainr={}, stages__1__method="stf", seed="a", scoring={})
    assert {line.split(": ")[0] for line in mistakes(raw)} == {
        "bas",
        "stages.0.trainr",
        "stages.1.method",
        "seed",
        "scoring.examples",
    }


def test_all_names_that_lead_nowhere_are_listed_at_once():
    raw = changed(stages__0__data="x", stages__1__start="y", scoring__examples="z", judge={"baseline": "w"})
    assert [line.split(": ")[0] for line in mistakes(raw)] == [
        "stages.0.data",
        "stages.1.start",
        "scoring.examples",
        "judge.baseline",
    ]


def test_the_chain_of_a_stage():
    found = parse(SMALL, MINE)
    assert [stage.name for stage in found.chain("two")] == ["one", "two"]
    assert [stage.name for stage in found.chain("one")] == ["one"]
    assert found.chain("base") == []


def test_contestants_left_out_are_the_base_and_every_stage():
    named = {"only": Contestant(stage="one")}
    assert list(contestants(parse(SMALL, MINE))) == ["base", "one", "two"]
    assert contestants(parse(changed(contestants={"only": {"stage": "one"}}), MINE)) == named


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return path


def test_files_are_beside_the_recipe(file):
    assert load(file).data["rows"].source == str(file.parent / "rows.jsonl")


def test_hub_ids_and_packaged_rows_stay_as_they_are(file):
    file.write_text(
        yaml.safe_dump(
            changed(data__rows__source="owner/set", data__pairs__source="package:tickets/pairs.jsonl")
        )
    )
    found = load(file)
    assert found.data["rows"].source == "owner/set"
    assert recipe.source_file(found.data["pairs"].source).is_file()


def test_benchmark_files_are_found_too(file):
    tasks = [{"task": "gsm8k", "files": {"test": "${FOLDER}/x.jsonl", "train": "y.jsonl"}}]
    file.write_text(yaml.safe_dump(changed(scoring__benchmarks=tasks)))
    with pytest.raises(
        RecipeError, match=r"scoring\.benchmarks\.0\.files\.test: environment variable FOLDER is not set"
    ):
        load(file)


def test_a_task_file_of_ones_own_is_beside_the_recipe(file):
    file.write_text(yaml.safe_dump(changed(scoring__benchmarks=[{"task": "mine.yaml"}, {"task": "gsm8k"}])))
    own, known = load(file).scoring.benchmarks
    assert own.task == str(file.parent / "mine.yaml")
    assert known.task == "gsm8k"


def test_prompts_tasks_and_chat_templates_are_beside_the_recipe_that_names_them(file):
    for name in ("mine.jinja", "pairwise"):  # a file of the name of a packaged prompt is not meant by it
        (file.parent / name).write_text("x")
    tasks = [{"task": "t.yml"}]
    own = changed(model={"chat_template": "mine.jinja"}, judge__prompt="mine.yaml", scoring__benchmarks=tasks)
    file.write_text(yaml.safe_dump(own))
    (file.parent / "below").mkdir()
    child = file.parent / "below" / "child.yaml"
    child.write_text("extends: ../mine.yaml\n")
    for found in (load(file), load(child)):
        assert found.model.chat_template == str(file.parent / "mine.jinja")
        assert found.judge.prompt == str(file.parent / "mine.yaml")
        assert found.scoring.benchmarks[0].task == str(file.parent / "t.yml")
    other = changed(model={"chat_template": "owner/model"}, judge__prompt="pairwise")
    file.write_text(yaml.safe_dump(other))
    assert (load(file).judge.prompt, load(file).model.chat_template) == ("pairwise", "owner/model")
    other["model"]["chat_template"] = "gone.jinja"
    file.write_text(yaml.safe_dump(other))
    with pytest.raises(RecipeError, match=r"model\.chat_template: gone\.jinja: no such file; name one"):
        load(file)


def test_models_are_beside_the_recipe_too(file, monkeypatch):
    own = changed(base="models/mine", contestants={"o": {"model": "o.gguf"}, "hub": {"model": "owner/model"}})
    own["judge"] = {"jury": [{"model": "models/judge"}, {"model": "some-model"}]}
    file.write_text(yaml.safe_dump(own))
    for name in ("mine", "judge"):
        (file.parent / "models" / name).mkdir(parents=True)
    (file.parent / "o.gguf").touch()
    found = load(file)
    assert found.base == str(file.parent / "models/mine")
    assert found.contestants["o"].model == str(file.parent / "o.gguf")
    assert found.contestants["hub"].model == "owner/model"
    assert [each.model for each in found.judge.jury] == [str(file.parent / "models/judge"), "some-model"]
    monkeypatch.chdir(file.parent)  # the same folder either way: reports keep the short name
    assert load(file).base == "models/mine"


@pytest.mark.parametrize("name", ["~nobody-here/x", "a\0b", "x/" * 3000])
def test_names_that_no_file_can_have_are_left_to_who_opens_them(file, name):
    file.write_text(yaml.safe_dump(changed(base=name, data__rows__source=name)))
    assert (load(file).base, load(file).data["rows"].source) == (name, name)


def test_a_file_of_baselines_is_beside_the_recipe_and_there(file):
    file.write_text(yaml.safe_dump(changed(scoring__bertscore_rescale="mine.tsv")))
    with pytest.raises(RecipeError, match=r"scoring\.bertscore_rescale: .*mine\.tsv: no such file"):
        load(file)
    (file.parent / "mine.tsv").write_text("LAYER,P,R,F\n0,0.1,0.1,0.1\n")
    assert load(file).scoring.bertscore_rescale == str(file.parent / "mine.tsv")
    (file.parent / "below").mkdir()
    child = file.parent / "below" / "child.yaml"
    child.write_text(f"extends: {file}\nname: child\n")
    assert load(child).scoring.bertscore_rescale == str(file.parent / "mine.tsv")
    file.write_text(yaml.safe_dump(changed(scoring__bertscore_rescale=True)))
    assert load(file).scoring.bertscore_rescale is True


def test_variables_come_from_the_environment(file, monkeypatch, tmp_path):
    file.write_text(
        yaml.safe_dump(changed(data__rows__source="${FOLDER}/rows.jsonl", data__pairs__source="${NO}/x"))
    )
    monkeypatch.delenv("NO", raising=False)
    monkeypatch.setenv("FOLDER", str(tmp_path / "elsewhere"))
    with pytest.raises(RecipeError) as raised:
        load(file)
    assert (
        str(raised.value) == f"{file}: data.pairs.source: environment variable NO is not set (in `${{NO}}/x`)"
    )
    monkeypatch.setenv("NO", str(tmp_path))
    assert load(file).data["rows"].source == str(tmp_path / "elsewhere" / "rows.jsonl")


def test_keys_can_be_set_from_outside(file):
    changes = {
        "stages.0.trainer.max_steps": 5,
        "scoring.generation.temperature": 0.5,
        "judge.limit": 3,
        "stages.1.name": "three",
    }
    found = load(file, changes)
    assert found.stages[0].trainer == {"max_steps": 5}
    assert found.scoring.generation.temperature == 0.5
    assert found.judge.limit == 3
    assert found.stages[1].name == "three"


@pytest.mark.parametrize("key", ["stages.7.name", "stages.first.name", "name.more", "stages.0.name.more"])
def test_a_place_that_is_not_there_cannot_be_set(file, key):
    with pytest.raises(RecipeError) as raised:
        load(file, {key: 1})
    assert str(raised.value) == f"{file}: --set {key}: there is no such place in the recipe"


def test_what_is_set_is_checked(file):
    with pytest.raises(RecipeError, match="seeed: unknown key; did you mean `seed`"):
        load(file, {"seeed": 1})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", r"mine\.yaml:2: not valid YAML: "),
        ("- a\n- b\n", r"mine\.yaml: a recipe is a mapping of keys"),
        ("", r"mine\.yaml: a recipe is a mapping of keys"),
        ("name: !!python/object/apply:os.getcwd []\n", r"mine\.yaml:1: not valid YAML: could not determine"),
        ("\tname: x\n", r"mine\.yaml:1: not valid YAML: "),
    ],
)
def test_files_that_are_no_recipes(file, text, message):
    file.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load(file)


def test_a_file_that_is_not_text(file):
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(RecipeError, match=r"mine\.yaml: not valid YAML"):
        load(file)


def test_a_recipe_that_is_not_there_names_those_that_are(tmp_path):
    with pytest.raises(RecipeError, match=r"no such recipe file; packaged recipes: .*demo"):
        load(tmp_path / "missing.yaml")
    with pytest.raises(RecipeError, match="no such recipe file"):
        load("../recipe")


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 0.001), ("2E5", 2e5), ("-1.5e-4", -1.5e-4), ("1.0e-3", 0.001), (".5e1", 5.0)],
)
def test_powers_of_ten_are_numbers(text, value):
    assert recipe.read_yaml(f"x: {text}") == {"x": value}


@pytest.mark.parametrize("text", ["1e", "e5", "1e-3x", "v1e3"])
def test_other_words_stay_words(text):
    assert recipe.read_yaml(f"x: {text}") == {"x": text}


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=20))
@example(0.5, "0E0")
@example(0.5, "one\x85two three\u2028four")
def test_a_written_recipe_reads_back_the_same(number, text):
    raw = changed(stages__0__trainer={"learning_rate": number, "run_name": text}, data__rows__filter=text)
    found = Recipe.model_validate(raw)
    again = Recipe.model_validate(recipe.read_yaml(dump(found)))
    assert again == found
    assert fingerprint(again) == fingerprint(found)


def test_a_fingerprint_changes_with_any_part():
    found = parse(SMALL, MINE)
    prints = {
        fingerprint(found),
        fingerprint(parse(changed(seed=1), MINE)),
        fingerprint(parse(changed(stages__0__trainer={"beta": 0.1}), MINE)),
        fingerprint(found, "more"),
    }
    assert len(prints) == 4
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)
sections = st.sampled_from(
    ["name", "base", "seed", "model", "data", "stages", "contestants", "scoring", "judge"]
)


@given(st.dictionaries(sections | st.text(max_size=8), json_values, max_size=6))
def test_whatever_a_file_holds_it_is_a_recipe_or_one_clear_error(raw):
    try:
        message = dump(parse(SMALL | raw, MINE))
    except RecipeError as error:
        message = str(error)
    assert message.startswith((f"{MINE}: ", "name: "))


@pytest.mark.parametrize("name", sorted(path.stem for path in recipe.PACKAGED.glob("*.yaml")))
def test_every_packaged_recipe_parses_and_survives_writing(name, monkeypatch, tmp_path):
    monkeypatch.setenv("ADAPTER_ARENA_DATA", str(tmp_path))
    found = load(name)
    assert found.name == name
    assert Recipe.model_validate(recipe.read_yaml(dump(found))) == found.model_copy(update={"extends": None})
    for source in found.data.values():
        if source.source.startswith("package:"):
            assert recipe.source_file(source.source).is_file()


def test_a_recipe_starts_from_another(file, tmp_path):
    (tmp_path / "more").mkdir()
    child = tmp_path / "more" / "child.yaml"
    child.write_text(
        "extends: ../mine.yaml\nname: child\nseed: 7\ndata: {pairs: {source: mine.jsonl, limit: 3}}\n"
        "stages: [{name: one, method: sft, data: rows}]\nscoring: {generation: {temperature: 0.5}}\n"
    )
    found = load(child)
    assert (found.name, found.seed, found.base, found.extends) == ("child", 7, "some-model", "../mine.yaml")
    assert found.data["rows"].source == str(tmp_path / "rows.jsonl")  # beside the recipe that names it
    assert found.data["pairs"].source == str(tmp_path / "more" / "mine.jsonl")
    assert [stage.name for stage in found.stages] == ["one"]
    assert found.scoring.examples == "rows"
    assert found.scoring.generation.temperature == 0.5
    assert "extends" not in dump(found)


def test_a_packaged_recipe_can_be_extended_and_a_section_taken_away(tmp_path):
    child = tmp_path / "child.yaml"
    child.write_text("extends: demo\nname: child\njudge: null\n")
    found = load(child)
    assert found.judge is None
    assert found.stages == load("demo").stages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("extends: child.yaml\n", "child.yaml: extends itself"),
        ("extends: gone.yaml\n", "child.yaml: extends: gone.yaml: no such recipe file"),
        ("extends: 3\nname: a\nbase: b\n", "child.yaml: extends: should be text; put it in quotes"),
        ("extends: demo\nnaem: a\n", "child.yaml: naem: unknown key; did you mean `name`?"),
    ],
)
def test_what_cannot_be_extended_is_reported(text, message, tmp_path):
    child = tmp_path / "child.yaml"
    child.write_text(text)
    with pytest.raises(RecipeError) as raised:
        load(child)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: t\nname: u\n", "2: name: this key is there twice"),
        ("name: no\n", "1: name: should be text in quotes, or true or false"),
        ("name: t\ndata:\n  a: {shuffle: yes}\n", "3: data.a.shuffle: should be text"),
        ("name: t\nseed: 010\n", "2: seed: should be without leading zeros"),
        ("name: t\nstages: [{trainer: {max_steps: 1:30}}]\n", "2: stages.0.trainer.max_steps: .* base 60"),
        ("name: t\nseed: .nan\n", "2: seed: should be a finite number"),
        ("name: t\nseed: 1e999\n", "2: seed: should be a finite number"),
        ('name: t\nbase: "\\ud800"\n', "2: base: half of a surrogate pair"),
    ],
)
def test_yaml_that_readers_understand_differently_is_refused_by_line(tmp_path, text, problem):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"r\.yaml:" + problem):
        load(tmp_path / "r.yaml")


def test_merge_keys_and_aliases_are_plain_yaml():
    assert read_yaml("a: &x {r: 1}\nb: {<<: *x, r: 2}\nc: [*x, *x]\nd: '010'\ne: True\nf: 0")["b"] == {"r": 2}


@pytest.mark.parametrize(
    ("place", "value", "key"),
    [
        (("stages", 0, "trainer", "hub_token"), "hf_x", "stages.0.trainer.hub_token"),
        (("stages", 0, "trainer", "push_to_hub"), True, "stages.0.trainer.push_to_hub"),
        (("stages", 0, "trainer", "output_dir"), "/elsewhere", "stages.0.trainer.output_dir"),
        (("stages", 0, "trainer", "trackio_static_space_id"), "me/x", "trainer.trackio_static_space_id"),
        (("stages", 0, "trainer", "log_completions_hub_repo"), "me/x", "trainer.log_completions_hub_repo"),
        (("stages", 0, "trainer", "model_init_kwargs"), {"token": "x"}, "model_init_kwargs.token"),
        (("base",), "https://me:pass@host/model", "base"),
        (("data", "token", "source"), "https://h/d.jsonl?e=1&X-Amz-Signature=pass", "data.token.source"),
        (("data", "token", "source"), "https://h/d.jsonl#token=pass", "data.token.source"),
        (
            ("contestants",),
            {"far": {"endpoint": {"url": "http://a:b@h/v1", "model": "m"}}},
            "far.endpoint.url",
        ),
        (
            ("contestants",),
            {"far": {"endpoint": {"url": "http://h/v1", "model": "m", "parameters": {"api_key": "sk-1"}}}},
            "parameters.api_key",
        ),
    ],
)
def test_secrets_and_ways_to_the_hub_are_refused(place: tuple, value: object, key: str):
    raw: dict = {
        "name": "x",
        "base": "b",
        "data": {"token": {"source": "d.jsonl", "rename": {"secret": "prompt"}}},
        "stages": [{"name": "s", "method": "sft", "data": "token", "trainer": {"push_to_hub": False}}],
    }
    recipe.parse(raw, Path("r.yaml"))
    *parents, last = place
    holder: Any = raw
    for part in parents:
        holder = holder[part]
    holder[last] = value
    with pytest.raises(RecipeError, match=key.replace(".", r"\.")) as raised:
        recipe.parse(raw, Path("r.yaml"))
    assert "pass" not in str(raised.value).replace("password", "")


@pytest.mark.parametrize("text", ["name: t\nbase: &a [*a]\n", "name: t\nbase: " + "[" * 60 + "]" * 60])
def test_yaml_without_an_end_is_refused(tmp_path, text):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(RecipeError, match=r"r\.yaml:2: .*(holds itself|too deeply)"):
        load(tmp_path / "r.yaml")


def test_aliases_that_repeat_without_measure_are_refused_at_once(tmp_path):
    bomb = "name: t\na0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    (tmp_path / "r.yaml").write_text(bomb)
    with pytest.raises(RecipeError, match=r"r\.yaml:6: a4: more than 100,000 values"):
        load(tmp_path / "r.yaml")


def test_the_baseline_that_run_adds_may_be_the_judges():
    raw = changed(judge={"pairs": "baseline", "baseline": "base-fewshot"})
    assert parse(raw, MINE).judge
    with pytest.raises(RecipeError, match="no contestant is named `base-fewshot`"):
        parse(changed(judge=raw["judge"], scoring__fewshot_baseline=False), MINE)


def test_set_takes_a_sweep_whose_keys_are_dotted(tmp_path: Path):
    file = tmp_path / "mine.yaml"
    (tmp_path / "rows.jsonl").touch()
    (tmp_path / "pairs.jsonl").touch()
    file.write_text(yaml.safe_dump(changed(scoring__validation="pairs")))
    found = load(file, {"sweep.stages.one.trainer.learning_rate": [1e-4, 2e-4]})
    assert found.sweep == {"stages.one.trainer.learning_rate": (1e-4, 2e-4)}
