"""Dixa: end users and custom attributes.

An end user is created or updated, patched, and found by e-mail address; the token is that of the
environment (``DIXA_API_TOKEN``)::

    import asyncio

    from sunshine_async import DixaClient
    from sunshine_async.dixa import CreateEndUserInput, PatchEndUserInput


    async def main() -> None:
        june = CreateEndUserInput(display_name="June", email="june@example.org")
        async with DixaClient() as client:
            user = await client.end_users.upsert(june)
            await client.end_users.patch(user.id, PatchEndUserInput(phone_number="+4930123456"))
            async for found in client.end_users.list(email="june@example.org"):
                print(found.id, found.display_name, found.phone_number)


    asyncio.run(main())

`DixaClient` holds the settings of an organization. ``client.end_users`` is `EndUsers`, and
``client.custom_attributes`` is `CustomAttributes`: a method for each operation of the service.
Bodies (``...Input``) and answers are models, under the service's names.

Bulk requests carry many bodies. `EndUsers.create_bulk` returns the service's own outcomes;
`EndUsers.create_many` adds batches, halving of refused batches, and look-ups after a lost answer.
`EndUsers.upsert` patches the end user found by external id, e-mail address (unique) or phone number
(unique), or creates. Lists are a `Listing`: records one by one, or page by page.
"""

from sunshine_async._calls.pages import Listing, Page
from sunshine_async.dixa.client import DixaClient
from sunshine_async.dixa.conversations import (
    AnonymizedConversation,
    Assignment,
    BrowserInfo,
    ChatConversation,
    ContactFormConversation,
    Conversation,
    ConversationLink,
    EmailConversation,
    EmailForward,
    FacebookMessengerConversation,
    FollowUp,
    GenericConversation,
    ListEndUserConversationsOutput,
    MessengerConversation,
    PstnPhoneConversation,
    Queue,
    SideConversation,
    SmsConversation,
    TwitterConversation,
    UnknownConversation,
    UnknownLink,
    WhatsAppConversation,
)
from sunshine_async.dixa.custom_attributes import (
    CustomAttributeDefinition,
    CustomAttributes,
    InputDefinition,
    SelectDefinition,
    SelectOption,
    TextDefinition,
    UnknownDefinition,
)
from sunshine_async.dixa.end_users import EndUsers
from sunshine_async.dixa.models import (
    AnonymizationRequest,
    BulkActionFailure,
    BulkActionSuccess,
    BulkError,
    BulkPatchEndUserInput,
    BulkPatchEndUsersInput,
    BulkUpdateEndUserInput,
    BulkUpdateEndUsersInput,
    CreateEndUserInput,
    CreateEndUsersInput,
    CustomAttribute,
    EmptyPatchSet,
    EndUser,
    ErrorResponse,
    Infrastructure,
    Integrity,
    InvalidArgument,
    ListEndUsersOutput,
    NotFound,
    Outcome,
    PaginationLinks,
    PatchEndUserInput,
    UnknownBulkError,
    UnknownOutcome,
    UpdateEndUserInput,
    Validation,
)

__all__ = [
    "AnonymizationRequest",
    "AnonymizedConversation",
    "Assignment",
    "BrowserInfo",
    "BulkActionFailure",
    "BulkActionSuccess",
    "BulkError",
    "BulkPatchEndUserInput",
    "BulkPatchEndUsersInput",
    "BulkUpdateEndUserInput",
    "BulkUpdateEndUsersInput",
    "ChatConversation",
    "ContactFormConversation",
    "Conversation",
    "ConversationLink",
    "CreateEndUserInput",
    "CreateEndUsersInput",
    "CustomAttribute",
    "CustomAttributeDefinition",
    "CustomAttributes",
    "DixaClient",
    "EmailConversation",
    "EmailForward",
    "EmptyPatchSet",
    "EndUser",
    "EndUsers",
    "ErrorResponse",
    "FacebookMessengerConversation",
    "FollowUp",
    "GenericConversation",
    "Infrastructure",
    "InputDefinition",
    "Integrity",
    "InvalidArgument",
    "ListEndUserConversationsOutput",
    "ListEndUsersOutput",
    "Listing",
    "MessengerConversation",
    "NotFound",
    "Outcome",
    "Page",
    "PaginationLinks",
    "PatchEndUserInput",
    "PstnPhoneConversation",
    "Queue",
    "SelectDefinition",
    "SelectOption",
    "SideConversation",
    "SmsConversation",
    "TextDefinition",
    "TwitterConversation",
    "UnknownBulkError",
    "UnknownConversation",
    "UnknownDefinition",
    "UnknownLink",
    "UnknownOutcome",
    "UpdateEndUserInput",
    "Validation",
    "WhatsAppConversation",
]
