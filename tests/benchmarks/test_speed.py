"""The share of the product's speed is measured against the product that sampling uses."""

import pytest

from crystal_core.benchmarks import speed
from crystal_core.errors import RequestError


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_no_call_is_much_faster_than_its_products(dtype):
    report = speed.benchmark_sampling("cpu", 8, 10, 3, dtype, device="cpu", threads=1)
    # the ceiling itself is timed, beside whatever else runs; a product in another form was five
    # times slower in bf16
    assert 0 < report["share_of_product_speed"] < 2


def test_the_refiner_is_timed_beside_its_plain_form_and_in_training():
    report = speed.benchmark_sampling(
        "diffcsp-cpu", 2, 3, 1, "float32", reference=True, device="cpu", threads=1
    )
    assert report["speed_up"] == pytest.approx(
        report["seconds_plain_form"] / report["seconds_per_network_call"], rel=0.05, abs=0.02
    )
    assert (
        speed.benchmark_training("diffcsp-cpu", 2, 3, 1, "float32", device="cpu", threads=1)[
            "seconds_per_step"
        ]
        > 0
    )


def test_drafts_are_counted_beside_those_of_a_larger_model(monkeypatch):
    from crystal_core.benchmarks import text
    from crystal_core.generators.crysllmgen.config import TinyConfig

    small = {"hidden_size": 32, "num_hidden_layers": 1, "intermediate_size": 64}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 1000}
    monkeypatch.setattr(text, "WORDS_MODEL", text.WORDS_MODEL | small | heads)
    monkeypatch.setitem(text.SIZES, "3m", TinyConfig(hidden_dim=32, n_layers=1, n_heads=2, ffn_dim=64))
    report = text.benchmark_text("3m", 4, 3, 1, words_batch=2)
    assert report["tokens_per_draft"] == 18 + 7 * 3 + 1
    assert 60 <= report["tokens_per_draft_135m"] <= 80  # 21 + 17.3 n of a real tokenizer
    assert report["ratio"] == pytest.approx(
        report["drafts_per_second"] / report["drafts_per_second_135m"], rel=0.02, abs=0.06
    )
    assert report["tokens_per_second"] == pytest.approx(report["drafts_per_second"] * 40, rel=0.01)
    for arguments in (("3m", "x"), (None, None)):
        with pytest.raises(RequestError, match="not both"):
            text.benchmark_text(arguments[0], 1, 1, 1, model=arguments[1])
    with pytest.raises(RequestError, match="Unknown size"):
        text.benchmark_text("4m", 1, 1, 1)
