"""What the pages keep between two runs of their scripts."""

from streamlit.testing.v1 import AppTest


def cut_short():
    import streamlit as st

    from pages._ui.link.session import action_button

    st.session_state.setdefault("runs", 0)
    st.session_state.setdefault("done", 0)
    st.session_state["runs"] += 1
    if st.session_state["runs"] == 2:
        st.rerun()  # the run that the press started ends before it comes to the button
    if action_button("Go", key="go"):
        st.session_state["done"] += 1


def test_a_press_outlives_a_run_that_is_cut_short():
    page = AppTest.from_function(cut_short).run()
    page.button(key="go").click().run()
    assert page.session_state["runs"] == 3 and page.session_state["done"] == 1
    page.run()
    assert page.session_state["done"] == 1  # it is dealt with once


def gone_to():
    import streamlit as st

    from pages._ui.link.session import action_button, restore_link, set_link

    restore_link("here")
    if action_button("Go", key="go"):
        set_link("here", job="a")
        st.rerun()
    st.text(st.query_params.get("job", "none"))


def test_a_request_from_before_the_new_link_does_not_bring_the_old_one_back(monkeypatch):
    page = AppTest.from_function(gone_to).run()
    page.button(key="go").click().run()
    assert page.text[0].value == "a"
    del page.query_params["job"]
    assert page.run().text[0].value == "a"
    monkeypatch.setattr("pages._ui.link.session.ON_ITS_WAY", 0.0)
    del page.query_params["job"]
    assert page.run().text[0].value == "none"  # later it is the reader who left


def adopting():
    import streamlit as st

    from pages._ui.link.session import apply_link, field, is_link_applied

    st.session_state.setdefault("reads", 0)
    if not is_link_applied(st.query_params.get("link", "")):
        st.session_state["reads"] += 1
        apply_link(st.query_params.get("link", ""), {"a": int(st.query_params.get("a", "1")), "b": None})
    if "away" not in st.query_params:
        st.text(field(st.number_input, "A", step=1, key="a"))


def test_what_a_link_carries_is_read_again_only_where_its_fields_were_forgotten():
    page = AppTest.from_function(adopting).run().run()
    assert page.session_state["reads"] == 1 and page.text[0].value == "1"
    page.number_input[0].set_value(5).run()
    assert page.session_state["reads"] == 1 and page.text[0].value == "5"
    page.query_params["away"] = "1"
    page.run()
    del page.query_params["away"]
    page.run()
    assert page.session_state["reads"] == 2 and page.text[0].value == "1"


def test_a_link_gives_a_field_a_new_identity_only_where_it_changes_its_value():
    page = AppTest.from_function(adopting).run()
    first = page.number_input[0].proto.id
    page.query_params.update({"link": "same", "a": "1"})
    assert page.run().number_input[0].proto.id == first
    page.query_params.update({"link": "other", "a": "7"})
    assert page.run().number_input[0].proto.id != first and page.text[0].value == "7"
    page.number_input[0].set_value(8).run()
    page.query_params["link"] = "again"
    assert page.run().text[0].value == "7"


def emptied():
    import streamlit as st

    from pages._ui.link.session import apply_link, field

    apply_link("link", {"a": 4.5})
    st.text(field(st.number_input, "A", value=None, step=0.5, key="a"))


def test_a_field_that_a_link_filled_can_be_emptied():
    page = AppTest.from_function(emptied).run()
    assert page.text[0].value == "4.5"
    assert page.number_input[0].set_value(None).run().text[0].value == "None"
    assert page.run().text[0].value == "None"


def filled():
    import streamlit as st

    from pages._ui.link.session import field, fill

    with st.container():
        if st.button("Fill", key="fill"):
            fill("a", [2])
            fill("b", True)
    st.text(field(st.pills, "A", [1, 2], selection_mode="multi", default=[1], key="a"))
    box = field(st.expander, "B", key="b", on_change="rerun")
    st.text(box.open)


def test_a_field_takes_what_it_is_filled_with_where_it_is_shown_already():
    page = AppTest.from_function(filled).run().run()
    assert [text.value for text in page.text] == ["[1]", "False"]
    page.button(key="fill").click().run()
    assert [text.value for text in page.text] == ["[2]", "True"]
    assert [text.value for text in page.run().text] == ["[2]", "True"]
