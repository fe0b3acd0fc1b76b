"""The resources of `backup.sendense.io/v1alpha1`. These models are the only source of the CRDs."""

from sendense_operator.api.v1alpha1.backup import BACKUP
from sendense_operator.api.v1alpha1.backupchain import BACKUP_CHAIN
from sendense_operator.api.v1alpha1.backuppolicy import BACKUP_POLICY
from sendense_operator.api.v1alpha1.backuprepository import BACKUP_REPOSITORY
from sendense_operator.api.v1alpha1.base import Resource
from sendense_operator.api.v1alpha1.protectedvm import PROTECTED_VM
from sendense_operator.api.v1alpha1.restore import RESTORE
from sendense_operator.api.v1alpha1.vmwareappliance import VMWARE_APPLIANCE

RESOURCES: tuple[Resource, ...] = (
    BACKUP,
    BACKUP_CHAIN,
    BACKUP_POLICY,
    BACKUP_REPOSITORY,
    PROTECTED_VM,
    RESTORE,
    VMWARE_APPLIANCE,
)

__all__ = [
    "BACKUP",
    "BACKUP_CHAIN",
    "BACKUP_POLICY",
    "BACKUP_REPOSITORY",
    "PROTECTED_VM",
    "RESOURCES",
    "RESTORE",
    "VMWARE_APPLIANCE",
    "Resource",
]
