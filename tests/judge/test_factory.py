"""From a recipe's judge section to a judge, reward models included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.judge.example_battles import battle, kept
from toolkit.errors import ModelError, RecipeError
from toolkit.judge import build_judge, judge_battles
from toolkit.judge.aggregation import aggregate_votes
from toolkit.judge.factory import judge_name, load_judge_prompt, prompt_key, validate_judges
from toolkit.judge.generative import GenerativeJudge
from toolkit.judge.logprob import LogprobJudge
from toolkit.judge.reward import BATCH_COMPARISONS, RewardJudge
from toolkit.judge.verdicts import NOT_FINITE
from toolkit.models import Loaded
from toolkit.models.loading import loaded_fingerprint
from toolkit.recipe import Endpoint, Judge, ModelOptions

ENDPOINT = Endpoint(url="http://127.0.0.1:9/v1", model="m")


def test_each_section_opens_its_judge(tiny: Loaded):
    assert isinstance(build_judge(Judge(), lambda _name: tiny, base="tiny"), LogprobJudge)
    assert isinstance(build_judge(Judge(model="x", method="written"), lambda _name: tiny), GenerativeJudge)
    judge = build_judge(Judge(endpoint=ENDPOINT, method="written"), lambda _name: tiny)
    assert isinstance(judge, GenerativeJudge)
    assert judge.name == "m"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (Judge(), "name the model that judges"),
        (Judge(endpoint=ENDPOINT), "an endpoint does not show its logits"),
        (Judge(method="reward"), "name the folder of the reward model"),
    ],
)
def test_sections_that_name_no_judge(section: Judge, message: str, tiny: Loaded):
    with pytest.raises(RecipeError, match=message):
        build_judge(section, lambda _name: tiny)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (Judge(prompt="single"), "judge.prompt: `single` grades answers one by one"),
        (Judge(prompt="rubric", method="written"), "judge RUN --prompt rubric"),
        (Judge(prompt="parwise"), "judge.prompt: parwise: no such judge prompt"),
        (Judge(method="written", rule="average"), "judge.rule: a written verdict has no probability"),
        (Judge(endpoint=ENDPOINT), "judge.method: an endpoint does not show its logits"),
        (Judge(method="reward"), "judge.model: no reward model is named"),
        (Judge(jury=({}, {"method": "reward"})), "judge.jury.1.model: no reward model is named"),
        (Judge(jury=({"endpoint": ENDPOINT}, {})), "judge.jury.0.method: an endpoint does not show"),
        (Judge(jury=({}, {"model": "tiny"})), "judge.jury: tiny is in it twice"),
        (Judge(jury=({}, {"model": "x", "method": "written"}), rule="average"), "no probability to average"),
    ],
)
def test_sections_that_cast_no_votes_are_refused_before_any_model_is_loaded(section: Judge, message: str):
    with pytest.raises(RecipeError) as refused:
        validate_judges(section.members(), base="tiny")
    assert message in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize(
    "section",
    [
        Judge(),
        Judge(rule="average"),
        Judge(prompt="multi-turn", method="written"),
        Judge(reference=True),
        Judge(endpoint=ENDPOINT, method="written"),
        Judge(method="reward", model="rewards", rule="average"),
        Judge(jury=({}, {"endpoint": ENDPOINT, "method": "written"}, {"model": "r", "method": "reward"})),
    ],
)
def test_sections_that_vote_are_not_refused(section: Judge):
    validate_judges(section.members(), base="tiny")


def test_a_jurys_members_are_judges_with_all_settings_of_the_section():
    jury = Judge(jury=({}, {"model": "x", "method": "logits"}), method="written", reference=True, limit=3)
    assert jury.members() == [
        Judge(method="written", reference=True, limit=3),
        Judge(model="x", method="logits", reference=True, limit=3),
    ]
    assert Judge(model="x").members() == [Judge(model="x")]


def test_a_reference_selects_the_prompt_that_shows_it():
    assert "{{ reference }}" in load_judge_prompt(Judge(reference=True)).user
    assert "{{ reference }}" not in load_judge_prompt(Judge()).user


@pytest.fixture(scope="module")
def reward_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = tmp_path_factory.mktemp("reward")
    torch.manual_seed(3)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


def test_a_reward_model_votes_for_the_higher_reward(reward_model: Path, tmp_path: Path):
    judge = RewardJudge(reward_model, ModelOptions(device="cpu", dtype="float32"))
    battles = [battle(i, f"answer {i}", f"reply {i * i}") for i in range(6)]
    verdicts = judge_battles(judge, battles, store=tmp_path / "kept")
    for fight, ab, ba in zip(battles, verdicts[::2], verdicts[1::2], strict=True):
        one, other = (alone(judge, fight, text) for text in (fight.completion_a, fight.completion_b))
        assert (
            ab.probability_a == ba.probability_a == pytest.approx(float(torch.sigmoid(one - other)), abs=1e-5)
        )
        assert ab.outcome == ("a" if one > other else "b")
    assert len(aggregate_votes(battles, verdicts)) == 6


@pytest.mark.parametrize("method", ["logits", "written", "reward"])
def test_a_judge_is_known_by_name_before_it_is_loaded(method: str, tiny: Loaded, reward_model: Path):
    model = str(reward_model) if method == "reward" else None
    requested = Judge(model=model, method=method)
    opened = build_judge(requested, lambda _name: tiny, base=tiny.name)
    plain = ModelOptions(device="cpu", dtype="float32")
    own = ModelOptions() if method == "reward" else plain
    assert judge_name(requested, lambda _name: own, base=tiny.name) == opened.name
    assert judge_name(requested, lambda _name: ModelOptions(dtype="float16"), base=tiny.name) != opened.name


def alone(judge: RewardJudge, fight: object, text: str) -> torch.Tensor:
    turns = [{"role": "user", "content": fight.messages[0].content}, {"role": "assistant", "content": text}]
    ids = judge.scorer.tokenizer.apply_chat_template(turns, return_dict=False)
    ids = ids[: len(ids) - ids[::-1].index(judge.scorer.tokenizer.eos_token_id)]
    with torch.inference_mode():
        return judge.scorer.model(torch.tensor([ids])).logits[0, 0]


def test_a_reward_adapter_is_put_on_its_base(tiny_model: Path, tmp_path: Path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(4)
    base = AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1)
    trained = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", target_modules=["q_proj"], r=2))
    trained.save_pretrained(tmp_path / "reward")
    judge = RewardJudge(tmp_path / "reward", ModelOptions(device="cpu", dtype="float32"))
    (verdict, _) = judge_battles(judge, [battle()], store=tmp_path / "kept")
    assert 0 < verdict.probability_a < 1
    head = trained.base_model.model.score.modules_to_save.default.weight
    assert any(
        torch.equal(head, weight) for name, weight in judge.scorer.model.named_parameters() if "score" in name
    )


def test_a_reward_model_is_loaded_as_the_recipe_sets_it(reward_model: Path, tmp_path: Path):
    options = ModelOptions(device="cpu", dtype="bfloat16", attention="eager", quantization="nf4")
    judge = build_judge(Judge(model=str(reward_model), method="reward"), str, options=options)
    model = judge.scorer.model
    kinds = {type(module).__name__ for name, module in model.named_modules() if name.endswith("q_proj")}
    assert kinds == {"Linear4bit"}
    assert (type(model.score).__name__, model.score.weight.dtype) == ("Linear", torch.bfloat16)
    assert model.config._attn_implementation == "eager"
    battles = [battle(i, f"answer {i}", f"reply {i * i}") for i in range(3)]
    assert len(aggregate_votes(battles, judge_battles(judge, battles, store=tmp_path / "kept"))) == 3


def test_a_reward_model_keeps_its_own_chat_template(reward_model: Path, tmp_path: Path):
    other = tmp_path / "of-the-base.jinja"
    other.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    own = RewardJudge(reward_model, ModelOptions(device="cpu"))
    judge = RewardJudge(reward_model, ModelOptions(device="cpu", chat_template=str(other)))
    assert judge.scorer.tokenizer.chat_template == own.scorer.tokenizer.chat_template


def test_a_reward_models_verdicts_are_on_disk_while_it_judges_on(
    reward_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    judge = RewardJudge(reward_model, ModelOptions(device="cpu", dtype="float32"))
    battles = [battle(i % 3, f"answer {i % 3}", f"reply {i}") for i in range(100)]
    read: list[list[int]] = []
    rewards = judge.scorer.rewards

    def until_killed(answers: list[list[int]]) -> list[float | None]:
        if len(read) > 60:
            raise KeyboardInterrupt
        read.extend(answers)
        return rewards(answers)

    monkeypatch.setattr(judge.scorer, "rewards", until_killed)
    store = tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        judge_battles(judge, battles, store=store)
    before = len(kept(store))
    assert before == 2 * BATCH_COMPARISONS
    monkeypatch.setattr(judge.scorer, "rewards", rewards)
    verdicts = judge_battles(judge, battles, store=store)
    assert len(kept(store)) == len(verdicts) == 200
    first = verdicts[:before]
    assert sum(verdict.tokens_in for verdict in first) == sum(map(len, read)), "each answer is counted once"


def test_an_overflow_of_a_reward_model_is_no_tie(
    reward_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    judge = RewardJudge(reward_model, ModelOptions(device="cpu"))
    monkeypatch.setattr(judge.scorer, "rewards", lambda answers: [float("nan")] * len(answers))
    verdicts = judge_battles(judge, [battle()], store=tmp_path / "kept")
    assert [(verdict.outcome, verdict.reason) for verdict in verdicts] == [(None, NOT_FINITE)] * 2
    assert aggregate_votes([battle()], verdicts) == []


def test_a_language_model_is_no_reward_model(tiny_model: Path, tmp_path: Path):
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=3).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="it has 3 outputs, not one"):
        RewardJudge(tmp_path)


def test_what_shapes_a_verdict_is_part_of_its_key(tiny: Loaded):
    here = Endpoint(url="http://127.0.0.1:1/v1", model="m")
    plain = Judge(method="written", endpoint=here)
    same = [plain.model_copy(update={"endpoint": here.model_copy(update={"concurrency": 1, "timeout": 9.0})})]
    other = [
        plain.model_copy(update={"endpoint": here.model_copy(update={"parameters": {"temperature": 1}})}),
        plain.model_copy(update={"endpoint": here.model_copy(update={"url": "http://127.0.0.1:2/v1"})}),
        plain.model_copy(update={"reference": True, "prompt": "pairwise-reference"}),
        Judge(method="written"),
        Judge(),
    ]
    assert {prompt_key(judge) for judge in same} == {prompt_key(plain)}
    assert len({prompt_key(judge) for judge in [plain, *other]}) == 1 + len(other)
    for judge in [plain, *other]:
        assert build_judge(judge, lambda _name: tiny, base=tiny.name).prompt_key == prompt_key(judge)
    folder, options = Path(tiny.name), ModelOptions(device="cpu", dtype="float32")
    changes = [
        {"dtype": "bfloat16"},
        {"quantization": "nf4"},
        {"chat_template_kwargs": {"enable_thinking": False}},
    ]
    marks = [loaded_fingerprint(folder, options.model_copy(update=change)) for change in changes]
    assert len({tiny.fingerprint, *marks}) == 4
    assert loaded_fingerprint(folder, options.model_copy(update={"attention": "eager"})) == tiny.fingerprint
