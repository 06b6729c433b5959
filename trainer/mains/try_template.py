"""Render conversations by a chat template, which may never end. A process of its own, with narrow limits.

    python -P -m trainer.mains.try_template <order.json >answer.json

It loads none of the trainer's libraries. Where the template takes too much, there may be no answer.
"""

from trainer.mains.one_shot import serve
from trainer.model.template_trial import TemplateOrder, limit_resources, try_template

if __name__ == "__main__":
    limit_resources()
    serve(TemplateOrder, lambda order, tell: try_template(order))
