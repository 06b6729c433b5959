"""What every section of the settings shares: strictness, and the types of its values."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]


def _refuse_nul(path: str) -> str:
    if "\0" in path:
        raise PydanticCustomError("path", "a name without NUL characters")
    return path


FileName = Annotated[str, AfterValidator(_refuse_nul)]


class Section(BaseModel):
    # The text under a field is for `document`: pydantic would parse it again whenever the settings are loaded
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
